"""Student's quantiles against printed tables, closed forms and a numerical integral."""

import math
from statistics import NormalDist

import pytest

from ngrpo.errors import ConfigError
from ngrpo.evaluation.statistics.student_t import student_quantile


@pytest.mark.parametrize(
    ("probability", "df", "printed"),
    [  # from the table in any textbook, and with ten digits from SciPy 1.16
        (0.975, 1, 12.7062047362),
        (0.975, 2, 4.3026527297),
        (0.975, 2.5, 3.5746548420),
        (0.975, 3, 3.1824463053),
        (0.975, 9, 2.2621571628),
        (0.975, 29, 2.0452296421),
        (0.975, 29.5, 2.0437249668),
        (0.975, 99, 1.9842169516),
        (0.975, 4999, 1.9604386467),
        (0.95, 4, 2.132),
        (0.995, 10, 3.169),
        (0.9, 120, 1.289),
        (0.9995, 1, 636.619),
    ],
)
def test_printed_tables(probability: float, df: float, printed: float) -> None:
    digits = len(str(printed).partition(".")[2])
    assert student_quantile(probability, df) == pytest.approx(printed, abs=0.51 * 10**-digits)
    assert student_quantile(1 - probability, df) == pytest.approx(-student_quantile(probability, df), rel=1e-9)


@pytest.mark.parametrize("probability", [0.500001, 0.6, 0.9, 0.975, 0.9999, 1 - 1e-9])
def test_closed_forms_of_one_and_two_degrees(probability: float) -> None:
    assert student_quantile(probability, 1) == pytest.approx(math.tan(math.pi * (probability - 0.5)), rel=1e-6)
    u = 2 * probability - 1
    assert student_quantile(probability, 2) == pytest.approx(u * math.sqrt(2 / (1 - u * u)), rel=1e-6)


@pytest.mark.parametrize("df", [1.0, 1.7, 5.0, 31.4, 400.0])
def test_the_density_integrates_to_the_probability(df: float) -> None:
    t, steps = student_quantile(0.975, df), 20_000
    constant = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)

    def density(x: float) -> float:
        return constant * (1 + x * x / df) ** (-(df + 1) / 2)

    inner = sum((4 if i % 2 else 2) * density(t * i / steps) for i in range(1, steps))
    assert (density(0) + inner + density(t)) * t / steps / 3 == pytest.approx(0.475, abs=1e-9)


def test_many_degrees_are_the_normal_distribution() -> None:
    normal = NormalDist().inv_cdf(0.975)
    assert student_quantile(0.975, math.inf) == normal
    assert student_quantile(0.975, 1e7) == pytest.approx(normal, abs=1e-6)
    assert student_quantile(0.5, 3) == 0.0


@pytest.mark.parametrize(
    ("probability", "df", "message"),
    [
        (0.0, 3, "a probability must lie between 0 and 1, got 0.0"),
        (1.0, 3, "got 1.0"),
        (math.nan, 3, "got nan"),
        (0.9, 0.99, "degrees of freedom must be at least 1, got 0.99"),
        (0.9, math.nan, "got nan"),
    ],
)
def test_impossible_arguments(probability: float, df: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        student_quantile(probability, df)
