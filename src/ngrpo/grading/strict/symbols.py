r"""Tables of spelling: symbols of Unicode as LaTeX, and commands with the same meaning under one name."""

from __future__ import annotations

import re
import unicodedata

_SYMBOLS = {
    "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "•": r"\cdot ", "∗": "*", "÷": r"\div ",
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "π": r"\pi ", "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ",
    "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≦": r"\le ", "≧": r"\ge ", "≠": r"\ne ", "∈": r"\in ",
    "∉": r"\notin ", "∀": r"\forall ", "∃": r"\exists ", "°": r"^\circ ", "º": r"^\circ ", "℃": r"^\circ\text{C}",
    "℉": r"^\circ\text{F}", "±": r"\pm ", "∓": r"\mp ", "∅": r"\emptyset ", "⌀": r"\emptyset ", "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "′": "'", "’": "'", "‘": "'",
    "″": "''", "”": '"', "“": '"', "≈": r"\approx ", "≃": r"\approx ", "≡": r"\equiv ", "∨": r"\lor ", "∧": r"\land ",
    "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}",
    "⅕": r"\frac{1}{5}", "⅖": r"\frac{2}{5}", "⅗": r"\frac{3}{5}", "⅘": r"\frac{4}{5}", "⅙": r"\frac{1}{6}",
    "⅚": r"\frac{5}{6}", "⅛": r"\frac{1}{8}", "⅜": r"\frac{3}{8}", "⅝": r"\frac{5}{8}", "⅞": r"\frac{7}{8}",
    "⁄": "/", "∕": "/", "∶": ":", "∣": "|", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ",
    "δ": r"\delta ", "ε": r"\epsilon ", "λ": r"\lambda ", "μ": r"\mu ", "µ": r"\mu ", "ω": r"\omega ",
    "φ": r"\varphi ", "ϕ": r"\phi ", "ρ": r"\rho ", "σ": r"\sigma ", "τ": r"\tau ", "ξ": r"\xi ", "η": r"\eta ",
    "\u2126": r"\Omega ", "\u03a9": r"\Omega ", "Δ": r"\Delta ", "Σ": r"\Sigma ", "Φ": r"\Phi ", "Γ": r"\Gamma ",
    "∠": r"\angle ", "△": r"\triangle ", "…": r"\ldots ", "⋯": r"\ldots ", "、": ",", "。": ".", "⟨": r"\langle ",
    "⟩": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "→": r"\to ",
    "⇒": r"\Rightarrow ", "∴": r"\therefore ", "∖": r"\setminus ", "¥": "￥", "或者": r"\text{ or }",
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2002": " ", "\u2003": " ", "\u200b": "", "\u200c": "", "\u200d": "",
    "\u2060": "", "\ufeff": "", "\u200e": "", "\u200f": "", "\u202a": "", "\u202c": "", "\u202e": "",
}  # fmt: skip
_WORDS = {"或者": r"\text{ or }", "或": r"\text{ or }", "并且": r"\text{ and }", "且": r"\text{ and }",
          "和": r"\text{ and }", "与": r"\text{ and }"}  # fmt: skip
_WIDE = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}
_LETTERS = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0x1D400, 0x1D800)}
_TABLE = str.maketrans(
    {mark: latex for mark, latex in _SYMBOLS.items() if len(mark) == 1}
    | {chr(code): mark for code, mark in (_WIDE | _LETTERS).items()}
)
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿˣ", "0123456789-+nx", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₋₊ₙₓₖ", "0123456789-+nxk", strict=True))
_SCRIPTS = tuple((mark, table, re.compile(f"[{''.join(table)}]+")) for mark, table in (("^", _RAISED), ("_", _LOWERED)))
_ROOTS = (("√", r"\sqrt"), ("∛", r"\sqrt[3]"), ("∜", r"\sqrt[4]"))
_ROOT_ARGUMENT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?|[A-Za-z])")

ALIASES = {
    "leq": "le", "leqslant": "le", "leqq": "le", "geq": "ge", "geqslant": "ge", "geqq": "ge", "neq": "ne", "lt": "<",
    "gt": ">", "colon": ":", "mid": "|", "vert": "|", "lvert": "|", "rvert": "|", "varnothing": "emptyset",
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "lbrace": "{",
    "rbrace": "}", "lbrack": "[", "rbrack": "]", "textstyle": "", "displaystyle": "", "scriptstyle": "", "limits": "",
    "nolimits": "", "quad": " ", "qquad": " ", "left": "", "right": "", "middle": "", "big": "", "Big": "", "bigg": "",
    "Bigg": "", "bigl": "", "bigr": "", "Bigl": "", "Bigr": "", "biggl": "", "biggr": "", "Biggl": "", "Biggr": "",
    "tiny": "", "small": "", "normalsize": "", "large": "", "Large": "", "LARGE": "", "huge": "", "Huge": "",
    "footnotesize": "", "scriptsize": "", "nobreak": "", "allowbreak": "", "displaylimits": "", "strut": "",
    "rm": "", "bf": "", "it": "", "sf": "", "tt": "", "bfseries": "", "itshape": "", "hfill": "", "lfbrace": "",
    "centering": "", "noindent": "", "tg": "tan", "ctg": "cot", "arctg": "arctan", "arcctg": "arccot", "cosec": "csc",
    "sh": "sinh", "ch": "cosh", "th": "tanh", "cdots": "ldots", "dots": "ldots", "dotsc": "ldots", "dotsb": "ldots",
    "hdots": "ldots", "degrees": "degree", "or": "lor", "vee": "lor", "wedge": "land", "bigcup": "cup",
    "bigcap": "cap", "space": " ", "thinspace": " ", "enspace": " ", "boldsymbol": "mathbf", "bm": "mathbf",
    "pmb": "mathbf", "smallsetminus": "setminus", "backslash": "setminus", "infin": "infty", "sim": "approx",
    "implies": "Rightarrow",
    "Longrightarrow": "Rightarrow", "rightarrow": "to", "longrightarrow": "to", "textdollar": "$", "cdotp": "cdot",
    "euro": "€", "texteuro": "€", "pounds": "£", "textsterling": "£", "yen": "￥", "overrightarrow": "vec",
}  # fmt: skip
"""Names of commands and the one name, mark or nothing that each stands for."""


def latex_of_symbols(text: str) -> str:
    r"""Returns a text with mathematical symbols, letters and full-width characters of Unicode as LaTeX.

    >>> latex_of_symbols("２≤x²"), latex_of_symbols("x₁=√2"), latex_of_symbols("3⁄4")
    ('2\\le x^{2}', 'x_{1}=\\sqrt{2}', '3/4')
    """
    if text.isascii():
        return text
    for root, command in _ROOTS:
        if root in text:
            head, *parts = text.split(root)
            text = head + "".join(command + _ROOT_ARGUMENT.sub(r"{\1}", part, count=1) if _ROOT_ARGUMENT.match(part)
                                  else command + part for part in parts)  # fmt: skip
    for mark, table, pattern in _SCRIPTS:
        text = pattern.sub(lambda found: mark + "{" + "".join(map(table.__getitem__, found[0])) + "}", text)  # noqa: B023
    for word, latex in _WORDS.items():
        if word in text:
            text = re.sub(rf"\\text\{{\s*{word}\s*\}}|{word}", latex.replace("\\", r"\\"), text)
    return text.translate(_TABLE)
