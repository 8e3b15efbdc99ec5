from __future__ import annotations

from ngrpo.config.cluster_settings import ClusterSettings


def test_without_gpus_one_worker_is_started_unless_more_are_asked_for():
    assert ClusterSettings.parse({}).gpus_per_node == 8
    assert ClusterSettings.parse({"device": "cpu"}).gpus_per_node == 1
    assert ClusterSettings.parse({"device": "cpu", "gpus_per_node": 2}).gpus_per_node == 2
