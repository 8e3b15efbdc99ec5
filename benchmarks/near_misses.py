r"""Near misses: answers that one small change made wrong, which no grader may accept.

    OMP_NUM_THREADS=1 python benchmarks/near_misses.py [--graders strict math-verify] [--show]

Each mutation of `MUTATIONS` makes its pairs from the right answers of this file, without chance: another sign, bound,
unit or base, `and` for `or`. Prints how many of each kind each grader accepts, and so would pay for.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from ngrpo.grading import GRADERS, GraderPool

Pairs = list[tuple[str, str]]
"""(wrong answer, reference)"""


class NearMiss(NamedTuple):
    """A completion that declares a wrong answer; `kind` is what makes it wrong."""

    kind: str
    completion: str
    reference: str


INTEGERS = ("42", "1375", "-17", "60480", "901")
DECIMALS = ("2.75", "0.0625", "30.52", "-1.4142", "16386.17")
FRACTIONS = (r"\frac{3}{4}", r"-\frac{7}{12}", r"\frac{2\pi}{3}", r"\frac{\sqrt{3}}{5}", r"\frac{a+1}{b}")
SURDS = (r"2\sqrt{3}", r"1+\sqrt{5}", r"\sqrt[3]{7}", r"\sqrt{2}+\sqrt{6}", r"3\sqrt{13}-2")
POLYNOMIALS = ("x^2-3x+5", "2a^3+b", "(x+4)^2", "n^2+7n-1", "x^4-2x^2y")
INTERVALS = ("(2,5)", "[-3,4]", "[0,7)", r"(-\infty,6]", "(-9,-1]")
INEQUALITIES = ("x>3", r"y\le -2", r"-1<x\le 4", r"2x+y\ge 6", r"t<\frac{1}{2}")
UNIONS = (r"(-\infty,-8)\cup(8,\infty)", r"[0,1]\cup[3,4)\cup(6,9]", r"\{-1\}\cup[0,7)", r"(1,2)\cup(2,3)")
LISTS = ("2,3,7", "-5,1", r"\frac{1}{2},4,9", r"\{1,4,9,16\}", "x=2,x=6")
TUPLES = ("(1,2)", "(4,-1,7)", r"\left(\frac{1}{2},3\right)", "(x,y)=(5,8)", r"\langle 6,1\rangle")
MATRICES = tuple(rf"\begin{{pmatrix}}{cells}\end{{pmatrix}}" for cells in (r"1&2\\3&4", r"0&5\\-6&7", r"a&b\\2b&8"))
FUNCTIONS = ("f(x)=x^2+1", "g(t)=3t^2", "f(x)=2^x", "y=x^2-4", "h(n)=n(n+1)^2")
EQUATIONS = ("y=2x+3", "x+y=5", "x^2+y^2=25", "3x-4y+7=0", "x=4y^2")
SYSTEMS = (("x", "y", "2", "3"), ("a", "b", "-1", "4"), ("m", "n", r"\frac{1}{2}", "5"), ("a_1", "a_2", "6", "9"))
TIMES = (r"9\text{ a.m.}", r"4{:}30\text{ a.m.}", r"\text{11:15 a.m.}", r"7\!:\!45\text{ am}")
POWERS = (r"1.5\times10^{3}", r"6.02\cdot 10^{23}", r"2\times10^{-5}", r"9\cdot10^{8}")
SIGNED = (r"\pm 3", r"1\pm\sqrt{2}", r"\frac{-1\pm\sqrt{13}}{4}", r"x=\pm\frac{1}{2}", r"\{-2,1\pm\sqrt{5}\}")
BASES = ("1010_2", "204_5", "2516_8", "101_{3}", r"332_{\text{five}}")
CONGRUENCES = tuple(rf"x\equiv {r}\pmod{{{m}}}" for r, m in ((3, 7), (5, 11), (1, 4), (10, 24)))
CLASSES = ("7n+3", "11k+5", "4m+1", r"\frac{\pi}{6}+2k\pi")
COMPLEX = ("3+2i", r"-1+i\sqrt{3}", r"2e^{i\pi/3}", "5i")
EXPONENTIALS = ("2^{10}", "x^{n+1}", "e^{-2}", "10^{100}", r"a^{\frac{1}{2}}")
PRODUCTS = ("5!", r"\frac{5!}{3!}", r"3!\cdot 4!", "(n+1)!", r"\binom{6}{2}", r"\frac{10!}{2!3!}")
SINES = (r"\sin x", r"2\sin b\cos a", r"\sin\frac{\pi}{5}", r"\sin^2 t", r"\arcsin\frac{1}{3}")

# A line holds two texts, each of them a wrong answer to the other.
BOTH_WAYS = r"""
precedence:   \frac{1}{2}x / \frac{1}{2x}   x^2+1 / (x+1)^2   2(a+b) / 2a+b   \sqrt{x}+1 / \sqrt{x+1}   a-(b-c) / a-b-c
precedence:   (-2)^{4}x / -2^{4}x   \frac{a}{b}+c / \frac{a}{b+c}   2^{3n} / 2^3n
and for or:   x>1\text{ or }y>2 / x>1\text{ and }y>2   x<-2\text{ or }x>5 / x<-2\text{ and }x>5
and for or:   x=2\text{ or }y=3 / x=2\text{ and }y=3   a\ge 0\text{ or }b\ge 0 / a\ge 0\text{ and }b\ge 0
and for or:   x<3\text{ or }x>-3 / x<3\text{ and }x>-3   x<3\text{ or }x>-3 / (-3,3)   \mathbb{R} / -3<x<3
and for or:   x>2\text{ and }x<9 / x<9\text{ or }x>2
union piece:  (1,3) / (1,2)\cup(2,3)   \mathbb{R} / (-\infty,-8)\cup(8,\infty)   (-8,8) / |x|>8
solutions:    (1,2),(2,1) / (1,2)   1,2 / 1,2,3,4   4,-4 / 4   x=7,x=-7 / x=7   \sqrt{3},-\sqrt{3} / \sqrt{3}
order:        a<b<c / b<a<c   f(2)<f(1)<f(4) / f(1)<f(2)<f(4)   2\mathbf{i}+3\mathbf{j} / 3\mathbf{i}+2\mathbf{j}
order:        \vec{v}=(1,2) / \vec{v}=(2,1)   A,B,C / A<C<B   [1,2) / (1,2]   \{1,2\} / (1,2)
matrix:       \begin{pmatrix}1\\2\\3\end{pmatrix} / \begin{pmatrix}1\\3\\2\end{pmatrix}
name:         a_1=2 / a_2=2   a_{n+1} / a_n+1   x=5 / y=5   f'(x)=2x / f(x)=2x   f(3)=5 / f(5)=3   AB=4 / CD=4
name:         a_{12} / a_{21}   2x / 2y   \cos A=\frac{1}{2} / \sin A=\frac{1}{2}   P(A)=0.3 / P(B)=0.3
equation:     x=2y+3 / y=2x+3   x^2-y^2=25 / x^2+y^2=25   4x+8y=6 / 2x+4y=6   xy=6 / x+y=6
unit:         5\text{ cm} / 5\text{ m}   60\text{ km/h} / 60\text{ m/s}   7\text{ cm}^2 / 7\text{ cm}   3 kg / 3 g
unit:         2\text{ hours} / 2\text{ minutes}   \text{12 feet} / \text{12 inches}   8\ \Omega / 8\text{ V}
currency:     \$5 / €5   \$20 / £20   \$5 / 5\text{ cents}   20€ / 20\text{ dollars}   USD 20 / EUR 20
currency:     42\text{ yuan} / 42\text{ dollars}   \$1.50 / 1.50\text{ cents}   £3 / 3\text{ pence}
clock:        3:45 / 4:45   3:45 / 3:54   12:00 / 1:00   \text{12:00 noon} / \text{12:00 midnight}
clock:        15:30 / 2{:}30\text{ p.m.}   4:30 PM / \text{4:30 a.m.}   2:05 / 2:50   9\text{ a.m.} / 21:00
degree:       \cos 58^\circ / \cos 58   2\sin 20^\circ / 2\sin 20   \tan(25^\circ) / \tan(25)
degree:       \cos^2 7^\circ / \cos^2 7   \frac{1}{\sin 10^\circ} / \frac{1}{\sin 10}   3+\cos 40^\circ / 3+\cos 40
degree:       \frac{\pi}{3} / 30^\circ   \frac{\pi}{2} / 180^\circ   30\text{ radians} / 30^\circ   \pi / 360°
percent:      50\% / 50   12.5\% / 12.5   \frac{1}{2}\% / \frac{1}{2}   100\% / 100   0.5\% / 0.5   20\% / 2\%
percent:      \frac{1}{4} / 4\%   8\text{ percent} / 8   150\% / 0.15
magnitude:    5\text{ million} / 5\text{ thousand}   5\text{ million} / 5   2.5\text{ billion} / 2.5\text{ million}
magnitude:    \$3\text{ million} / \$3\text{ thousand}   \$3\text{ million} / \$3   1.2\text{ million} / 120000
base:         11_{\text{two}} / 11_{\text{three}}   AB_{16} / BA_{16}   1010_2 / 1010_3   10_7 / 10_8
congruence:   2n / 2n+1   2k\pi / k\pi   \frac{\pi}{4}+n\pi / \frac{\pi}{3}+n\pi   x\equiv 2\pmod 5 / x\equiv -2\pmod 5
choice:       A / (B)   (B) / \text{(C)}   \text{(C)} / \textbf{(D)}   \textbf{(D)} / E   E / (A)
choice:       \text{(D) Alina} / \text{(D) Cecile}   \text{(B) 12} / \text{(E) 12}   (C) \frac{1}{2} / (C) \frac{1}{3}
choice:       \textbf{(B)}\ 13 / \textbf{(B)}\ 12   A,C / A,D   A / A,C   \text{B or C} / \text{B}
word:         \text{yes} / \text{No}   \text{true} / \text{False}   \text{odd} / \text{even}   \text{Alice} / \text{Bob}
word:         \text{possible} / \text{not possible}   \text{increasing} / \text{decreasing}
word:         \text{Monday} / \text{Tuesday}
plus-minus:   \pm 3 / 3   1\pm\sqrt{2} / 1+\sqrt{2}   \frac{-1\pm\sqrt{13}}{4} / \frac{-1+\sqrt{13}}{4}
plus-minus:   x=\pm\frac{1}{2} / x=\frac{1}{2}   \{-2,1\pm\sqrt{5}\} / \{-2,1+\sqrt{5}\}   \pm 3 / \pm 4
plus-minus:   \pm 1 / \pm 1,\pm 2   1\pm\sqrt{2} / -1\pm\sqrt{2}   \pm\sqrt{2}+1 / \pm(\sqrt{2}+1)
repeating:    0.\overline{3} / 0.\overline{03}   0.\overline{12} / 0.1\overline{2}   0.(3) / 0.(36)   0.\dot{5} / 0.5
repeating:    0.\overline{6} / 0.6   1.4\overline{9} / 1.\overline{49}   0.\overline{142857} / 0.\overline{142875}
factorial:    n! / (n-1)!   8!! / 8!   2\cdot 5! / (2\cdot 5)!   (2n)! / 2n!   \binom{5}{2} / \binom{2}{5}
thousands:    10, 200 / 10200   1, 234 / 1234   12, 345, 678 / 12345678   100, 100 / 100100
mixed number: 2\cdot\frac{1}{3} / 2\frac{1}{3}   5\cdot\frac{3}{4} / 5\frac{3}{4}   \frac{2}{7} / -1\frac{2}{7}
mixed number: \frac{1}{3} / 2\frac{1}{3}   \frac{21}{3} / 2\frac{1}{3}   2 1/3 / 21/3   x\frac{1}{2} / x+\frac{1}{2}
ellipsis:     1,2,\ldots,10 / 1,2,\ldots,11   2,4,\dots,20 / 1,2,\dots,20   1+2+\cdots+n / 1+2+\cdots+(n-1)
ellipsis:     \{0,3,6,\ldots\} / \{0,3,6,\ldots,30\}   1,2,10 / 1,2,\ldots,10   1,10 / 1,2,\ldots,10
logarithm:    \log_2 3 / \log_3 2   \ln 2 / \log_{10} 2   \log_2 x / \log_4 x   2\ln 3 / \ln 6   \ln 2+1 / \ln 3
logarithm:    (\ln x)^2 / \ln(x^2)   \ln(a+b) / \ln a+\ln b   \log_2 8 / \log_8 2   e^{2\ln 5} / 10
trigonometry: \sin 2x / 2\sin x   \sin^{-1}x / \frac{1}{\sin x}   \sin(x^2) / \sin^2 x   \sec x / \csc x
ratio:        3:2 / 2:3   1:2:3 / 3:2:1   7:32 / 32:7   3:4 / 3:5   11\text{ to }21 / 21\text{ to }11
special set:  0 / \emptyset   \{\emptyset\} / \emptyset   \{0\} / \varnothing   x\ne 1 / x=1
special set:  -\infty / \infty   (-\infty,0) / (0,\infty)   \mathbb{R} / \mathbb{Z}   0 / \infty   x\ne 1 / x\ne 2
special set:  \mathbb{R}\setminus\{1\} / \mathbb{R}\setminus\{2\}   \mathbb{R}\setminus\{1\} / \mathbb{R}
tolerance:    10^{-20} / 2\cdot 10^{-20}   \frac{1}{2^{99}} / \frac{1}{2^{98}}   e^{-100} / e^{-101}   99.9999999 / 100
tolerance:    \tanh(500) / 1   \sqrt{10^{200}+1} / 10^{100}   10^{500}+1 / 10^{500}   \frac{1}{2004!} / \frac{1}{2006!}
"""

# The left of each is a wrong answer to the right, which as an answer to the left may be right.
ONE_WAY = r"""
endpoints:    [4,-3] / [-3,4]   [7,0) / [0,7)   (5,2] / (2,5]   4<x<-1 / -1<x<4   (-\infty,1] / [1,\infty)
inequality:   -x>3 / x>3   -2x>-6 / x>3   -x<-2 / x<2   -3x\ge 9 / x\ge -3   -x>1 / x<1   1-x>0 / x>1
degree:       31 / 30^\circ   \frac{\pi}{4} / 60^\circ   45 / \frac{\pi}{4}   120^\circ / \frac{\pi}{3}
repeating:    0.333 / 0.333\ldots   1.27 / 1.\overline{27}   0.142857 / 0.\overline{142857}
tolerance:    0.33 / \frac{1}{3}   3.14159 / \pi   1.41 / \sqrt{2}   165.5 / 165.47   1.4142135623 / \sqrt{2}
special set:  0 / \text{no solution}   0 / \text{none}   1 / \text{infinitely many}
not done:     2+5=6 / 6   x=42=43 / 43   3=4 / 4   1+1=3=\frac{6}{2} / 3   \int_0^1 x\,dx / \frac{1}{2}
not done:     \sum_{k=1}^{10}k / 55   \lim_{x\to 0}\frac{\sin x}{x} / 1   \text{the same} / 12   ? / 7
"""
LISTED = [line for line in (BOTH_WAYS + ONE_WAY).splitlines() if line]

HEDGES = """
The answer is ${}$ or ${}$.
The answer is {} or {}.
The answer is either ${}$ or ${}$.
Final answer: ${}$ or maybe ${}$
Answer: {} (or {})
The answer is ${}$, or possibly ${}$.
#### {} or {}
The answer is ${}$; it may also be ${}$.
**Final Answer**: {}, {}
"""

Change = str | Callable[[re.Match[str]], str]


def larger(found: re.Match[str]) -> str:
    return str(int(found[0]) + 1)


def other_digit(found: re.Match[str]) -> str:
    """The digit larger by two: more than rounding could excuse."""
    return str((int(found[0]) + 2) % 10)


def turned(found: re.Match[str]) -> str:
    return {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", "(": "[", "[": "(", ")": "]", "]": ")"}[found[0]]


FIRST, LAST = r"\d+", r"\d+(?!.*\d)"

REWRITES: tuple[tuple[str, tuple[str, ...], str, Change], ...] = (
    ("sign", (*INTEGERS, *DECIMALS, *FRACTIONS, *TUPLES[:2]), r"^(\(?)(?=[\d\\])", r"\1-"),
    ("sign", (*INTEGERS, *DECIMALS, *FRACTIONS), r"^-", ""),
    ("sign", (*SURDS, *POLYNOMIALS), r"\+", "-"),
    ("sign", (*SURDS, *POLYNOMIALS), r"(?<=\w)-", "+"),
    ("digit", (*INTEGERS, *DECIMALS), r"\d$", other_digit),
    ("digit", (*INTEGERS, *DECIMALS, "1234567"), r"([1-9])(?!\1)(\d)(?!.*\d{2})", r"\2\1"),
    ("digit", INTEGERS, r"$", "00"),
    ("digit", DECIMALS, r"\.(\d)", r"\1."),
    ("fraction", FRACTIONS, r"\\frac\{((?:[^{}]|\{[^{}]*\})*)\}\{([^{}]*)\}", r"\\frac{\2}{\1}"),
    ("fraction", FRACTIONS[:4], LAST, larger),
    ("fraction", FRACTIONS[2:], r"\\pi|\\sqrt|\+1", ""),
    ("root", SURDS, r"\\sqrt\[3\]", r"\\sqrt"),
    ("root", SURDS, r"\\sqrt\{", r"\\sqrt[3]{"),
    ("root", SURDS, r"\\sqrt\{(\d+)\}", r"(\1)"),
    ("exponent", (*POLYNOMIALS[:3], *EXPONENTIALS), LAST, larger),
    ("exponent", POLYNOMIALS, r"\^2", ""),
    ("exponent", POLYNOMIALS, r"(\w)\^(\d)", r"\2\1"),
    ("imaginary part", COMPLEX, "i", ""),
    ("imaginary part", COMPLEX, r"\+|(?<=\{)(?=i)", "-"),
    ("bound", (*INTERVALS, *INEQUALITIES), LAST, larger),
    ("bound", INTERVALS, r"^([(\[])-?(?=[1-9])", r"\g<1>-10"),
    ("open for closed", (*INTERVALS, *UNIONS), r"^[(\[](?!-\\infty)", turned),
    ("open for closed", (*INTERVALS, *UNIONS), r"(?<!infty)[)\]]$", turned),
    ("open for closed", INEQUALITIES, r"\\le ?", "<"),
    ("open for closed", INEQUALITIES, r"<", r"\\le "),
    ("union piece", UNIONS, r"\\cup[^u]*$", ""),
    ("union piece", UNIONS, r"^[^u]*\\cup", ""),
    ("union piece", UNIONS[:2], r"\\cup", r"\\cap"),
    ("inequality", INEQUALITIES, r"[<>]|\\[lg]e", turned),
    ("inequality", INEQUALITIES, r"\b2?[xyt]\b", "z"),
    ("one element", (*LISTS, *TUPLES, *MATRICES), FIRST, larger),
    ("one element", (*LISTS, *TUPLES, *MATRICES), LAST, larger),
    ("solutions", LISTS, r",[^,{}\\]+(?=\\\}|$)", ""),
    ("solutions", LISTS, r"(?=\\\}|$)", ",101"),
    ("order", TUPLES, r"([(\s]|langle )(\\frac\{1\}\{2\}|-?\d),(-?\d)", r"\1\3,\2"),
    ("matrix", MATRICES, r"&(.+?)\\\\(.+?)&", r"&\2\\\\\1&"),
    ("function", FUNCTIONS, LAST, larger),
    ("function", FUNCTIONS, r"\^2", ""),
    ("function", FUNCTIONS, "=", "=-"),
    ("equation", EQUATIONS, LAST, larger),
    ("equation", EQUATIONS, r"=(?=[1-9x])|^(?=x\+|3x)", r"\g<0>-"),
    ("equation", EQUATIONS, r"\+", "-"),
    ("clock", TIMES, FIRST, larger),
    ("clock", TIMES, "a(?=.?m)", "p"),
    ("magnitude", POWERS, LAST, larger),
    ("magnitude", POWERS, r"10\^\{-?", "10^{1"),
    ("base", BASES, r"_\{?(\d)\}?|_.*five.*", "_9"),
    ("base", BASES, r"(\d)(?!\1)(\d)", r"\2\1"),
    ("congruence", (*CONGRUENCES, *CLASSES), FIRST, larger),
    ("congruence", (*CONGRUENCES, *CLASSES), LAST, larger),
    ("plus-minus", SIGNED, r"\\pm ?", "-"),
    ("factorial", PRODUCTS, FIRST, larger),
    ("factorial", PRODUCTS, LAST, larger),
    ("factorial", PRODUCTS, "!", ""),
    ("trigonometry", SINES, "sin", "cos"),
    ("trigonometry", SINES, "sin", "tan"),
    ("trigonometry", SINES, r"\\(?=sin|arcsin)", r"-\\"),
)
"""A kind, right answers, and a pattern whose first match in each is replaced."""


def of_tables(kind: str) -> Pairs:
    """Each right answer of a kind with one place of it changed, and the pairs that are listed in full."""
    rules = [rule[1:] for rule in REWRITES if rule[0] == kind]
    pairs = [(re.sub(pattern, change, seed, count=1), seed) for seeds, pattern, change in rules for seed in seeds]
    for table in (BOTH_WAYS, ONE_WAY):
        for name, _, texts in (line.partition(":") for line in table.splitlines()):
            if name == kind:
                split = [pair.split(" / ") for pair in re.split(r"\s{3,}", texts.strip())]
                pairs += [(one, other) for one, other in split]
                pairs += [(other, one) for one, other in split if table == BOTH_WAYS]
    return [(answer, reference) for answer, reference in pairs if answer != reference]


def systems() -> Pairs:
    """The values of two variables exchanged, and one of them left out."""
    pairs = []
    for one, other, left, right in SYSTEMS:
        swapped = f"{one}={right},{other}={left}"
        pairs += [(swapped, f"{one}={left}{joint}{other}={right}") for joint in (",", r",\ ", r"\text{ and }")]
        pairs.append((f"{one}={left}", f"{one}={left},{other}={right}"))
    return pairs


def hedges() -> Pairs:
    """Completions without a box that name two answers, one of them right."""
    values = (("5", "6"), (r"\frac{1}{2}", "3"))
    return [(text.format(*pair), right) for text in HEDGES.split("\n")[1:-1] for pair in values for right in pair]


MUTATIONS: Mapping[str, Callable[[], Pairs]] = {
    **{kind: partial(of_tables, kind) for kind, *_ in REWRITES},
    **{line.partition(":")[0]: partial(of_tables, line.partition(":")[0]) for line in LISTED},
    "system": systems,
    "hedge": hedges,
}
"""The pairs of each kind; those of `hedge` are whole completions instead of answers."""


def near_misses() -> list[NearMiss]:
    """Returns every near miss once, always the same in the same order."""
    found = [
        NearMiss(kind, answer if kind == "hedge" else rf"So we get $\boxed{{{answer}}}$.", reference)
        for kind, pairs in MUTATIONS.items()
        for answer, reference in pairs()
    ]
    return list(dict.fromkeys(found))


def accepted(misses: list[NearMiss], grader: str) -> list[NearMiss]:
    """Returns those that a grader takes for correct."""
    with GraderPool(1, 10.0, grader) as pool:
        grades = pool.grade_many([(miss.completion, miss.reference) for miss in misses])
    return [miss for miss, grade in zip(misses, grades, strict=True) if grade.status == "correct"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graders", nargs="+", choices=list(GRADERS), default=["strict"])
    parser.add_argument("--show", action="store_true", help="list every one that is accepted")
    arguments = parser.parse_args()
    misses = near_misses()
    taken = {grader: accepted(misses, grader) for grader in arguments.graders}
    print(f"| kind | near misses | {' | '.join(taken)} |\n|---|---|{'---|' * len(taken)}")
    for kind in (*MUTATIONS, "all"):
        counts = [sum(kind in (miss.kind, "all") for miss in some) for some in (misses, *taken.values())]
        print(f"| {kind} | {' | '.join(map(str, counts))} |")
    if arguments.show:
        for grader, some in taken.items():
            for miss in some:
                print(f"  {grader}: {miss.kind}: {miss.completion!r} for {miss.reference!r}")


if __name__ == "__main__":
    main()
