"""`ngrpo report`: one offline HTML page of run folders or of a study.

reported_run.py    a run folder -> `ReportedRun`, whatever of it can be read; rollout_scan.py, evaluations_read.py
study_page.py      the folder of a study -> `Page`
outcome.py         Pass@k, AUC and paired differences, from `ngrpo.evaluation.statistics`
figures_*.py       questions with their charts; report_charts.py has the shapes of chart, theme.py the colours
rollout_sample.py  the groups that the browser shows; method_advantages.py their advantages under each method
report_builder.py  runs -> `Page`
report_html.py     `Page` -> HTML; assets/ has template, style sheet and script
report_files.py    writes page and pictures; live_server.py serves a page while a run goes on
"""

from ngrpo.report.report_files import page_of, report_path, write_page, write_pictures

__all__ = ["page_of", "report_path", "write_page", "write_pictures"]
