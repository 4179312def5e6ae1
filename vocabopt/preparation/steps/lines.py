"""The step that removes lines of boilerplate, and the patterns it goes by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from vocabopt.option_fields import at_least, option
from vocabopt.preparation.step import SHARE, DocumentStep, Outcome, code_points, no_text
from vocabopt.preparation.steps.repetition_kernel import count_runs

_EMAIL = r"(?:[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}|\[EMAIL\])"  # an address, or its mask (personal.py)
_REPORTER = r"(?:기자|특파원|앵커|논설위원|리포터|PD)"
_JAVASCRIPT = r"(?:자바\s?스크립트|(?i:java\s?script))"
_TAGS = (
    "html|head|body|div|span|table|t[rdh]|tbody|thead|ul|ol|li|a|p|br|hr|img|script|style|iframe|form|input|button|font"
    "|center|h[1-6]|meta|link|svg|video|embed|object"
)
_MENU_WORDS = (
    r"홈(?:으로)?|로그인|로그아웃|회원\s?가입|마이\s?페이지|장바구니|주문\s?조회|사이트\s?맵|고객\s?센터|공지\s?사항|이용\s?약관"
    r"|개인정보\s?(?:처리|취급)\s?방침|청소년\s?보호\s?정책|회사\s?소개|(?:광고|제휴|구독)\s?(?:문의|신청|안내)"
    r"|목록(?:으로|\s?보기)?|이전\s?글?|다음\s?글?|(?:맨\s?)?위로|더\s?보기|전체\s?(?:보기|메뉴)|메뉴(?:\s?(?:열기|닫기))?"
    r"|(?:본문|메뉴|검색)\s?바로\s?가기|검색|공유(?:하기)?|스크랩(?:하기)?|인쇄(?:하기)?|프린트|글자\s?크기"
    r"|글씨\s?(?:크게|작게)|댓글\s?(?:[0-9]+|쓰기|달기)|답글|(?:추천|좋아요|조회수?)\s?:?\s?[0-9,]+|신고(?:하기)?|닫기"
    r"|페이스북|트위터|카카오(?:톡|스토리)|네이버\s?(?:밴드|블로그)|URL\s?복사"
    r"|home|log\s?(?:in|out)|sign\s?(?:in|up|out)|register|menu|search|share|print|tweet|next|prev(?:ious)?"
    r"|read more|load more|back to top|skip to (?:main )?content|contact(?: us)?|about(?: us)?|site\s?map"
    r"|privacy policy|terms of (?:use|service)|facebook|twitter|instagram|youtube"
)
_SEPARATOR = r"[\s|·ㆍ>›»<«‹/,:•▶▲▼*\[\]()\-]"

#: Rule -> patterns; a line is cut where one of them is found in it.
PATTERNS: dict[str, tuple[str, ...]] = {
    "markup": (
        rf"(?i)</?(?:{_TAGS})(?:\s[^<>]*)?/?>",
        r"^\s*(?:\{\||\|\}|\|-)",  # tables of wiki text
        r"^\s*(?:<!--|-->|<\?xml|<!DOCTYPE)",
    ),
    "javascript": (
        r"(?i)(?:enable|turn on|requires?|without|support) (?:\S+ ){0,3}java\s?script",
        r"(?i)java\s?script (?:\S+ ){0,3}(?:enabled|disabled|required|turned off)",
        rf"{_JAVASCRIPT}\S?\s.{{0,10}}(?:활성화|허용|켜)\S{{0,2}}\s?(?:주|야\s|셔야|십시오|세요)",
        rf"브라우저\S*\s.{{0,20}}{_JAVASCRIPT}\S?\s(?:지원하지|사용할 수)",
        r"(?i)javascript:\s*[\w.]+\(",
    ),
    "cookies": (
        r"쿠키(?:를|의|에)?\s.{0,20}(?:사용(?:합니다|하고 있습니다|에\s?동의)|수집합니다|허용해\s?주)",
        r"(?i)(?:site|page|we) uses? cookies|use of cookies|cookie (?:policy|settings|preferences|consent)",
        r"(?i)accept (?:all )?cookies",
    ),
    "notice": (
        r"무단\s?(?:전재|복제|배포|도용|전송)[\s,·및와과]{0,4}(?:또는\s)?(?:무단\s)?(?:재?배포|복제|전송|도용|이용|수집|금지|[를을]\s금)",
        r"재배포(?:를|\s?및\s?AI\s?학습\s?이용)?\s?금지|AI\s?학습\s?(?:및\s?활용|이용)\s?금지",
        r"저작권자\s?[ⓒ©(（:]|[ⓒ©]\s?\S{0,20}(?:뉴스|신문|일보|방송|닷컴|미디어|\.com|\.co\.kr|\.net)",
        r"(?i)all rights? reserved|^\W*copyrights?\s?(?:[ⓒ©]|\(c\)|[0-9]{4})",
    ),
    "contact": (
        r"기사\s?제보|제보\s?(?:하기|전화|메일|이메일)\s?[:：]|제보는\s.{0,40}(?:카카오톡|이메일|전화|@)",
        rf"{_REPORTER}\s?[=/|(<\[:]?\s?{_EMAIL}",
        rf"^\W*{_EMAIL}\W*$",
        rf"^\W*[가-힣]{{2,4}}\s?(?:인턴\s?|객원\s?|선임\s?)?{_REPORTER}\W*$",
    ),
    "navigation": (
        rf"(?i)^{_SEPARATOR}*(?:{_MENU_WORDS})(?:{_SEPARATOR}+(?:{_MENU_WORDS}))+{_SEPARATOR}*$",
        r"(?i)^\s*(?:홈|home)\s?[>›»]",
        r"(?i)^\W*(?:본문\s?바로\s?가기|맨\s?위로|더\s?보기|전체\s?보기|목록으로)\W*$",
        r"(?i)^\W*(?:skip to (?:main )?content|back to top|read more)\W*$",
    ),
}

ALL_RULES = tuple(PATTERNS)
#: How a sentence ends: with a mark, or a Korean ending; then quotes and brackets.
SENTENCE_END = r"""(?:[.!?…。！？~]|다|요|죠|까|네|음|함|됨|임)["'”’」』》〉)\]]*\s*$"""


@dataclass(frozen=True, kw_only=True)
class Lines(DocumentStep):
    """Cut lines of boilerplate, and documents of which nothing is left; a document of one line follows the same rules.

    rules: which of the built-in patterns apply: markup (HTML tags), javascript ("please enable"), cookies,
    notice (copyright, no redistribution), contact (news desk, reporter's e-mail), navigation (menus); to lines of at
    most max_boilerplate_chars characters, so that an article about them stays. patterns: regular expressions of your
    own (Rust syntax, no lookaround), for lines of any length. max_symbol_share: of the characters other than white
    space, those that are no letter, mark or digit. max_run_chars: of one character in a row, white space apart.
    require_sentence_end: cut lines that do not end like a sentence, headings too. None is no limit. Blank lines stay.
    """

    name: ClassVar[str] = "lines"
    rules: Sequence[str] = ALL_RULES
    patterns: Sequence[str] = ()
    max_boilerplate_chars: int = option(120, check=at_least(0))
    max_symbol_share: float | None = option(0.6, check=SHARE)
    max_run_chars: int | None = option(30, check=at_least(1))
    require_sentence_end: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if rule := next((rule for rule in self.rules if rule not in PATTERNS), None):
            raise self.refusal("rules", rule, f"must be among {', '.join(ALL_RULES)}.")
        for pattern in self.patterns:
            try:
                pl.Series([""]).str.contains(pattern)
            except pl.exceptions.ComputeError as error:
                what = f"not a regular expression that Rust reads: {' '.join(str(error).split())}."
                raise self.refusal("patterns", repr(pattern), what) from error

    def load(self) -> Callable[[pl.Series], Outcome]:
        return self._work

    def _work(self, texts: pl.Series) -> Outcome:
        lines = pl.DataFrame({"document": pl.int_range(len(texts), eager=True), "line": texts.str.split("\n")})
        lines = lines.explode("line")
        lines = lines.with_columns(rule=self._cut_by(lines["line"]), blank=~lines["line"].str.contains(r"\S"))
        # Most documents lose no line: only the others, and those without text, are put together anew.
        touched = (
            lines.group_by("document", maintain_order=True)
            .agg(cut=pl.col("rule").is_not_null().any(), empty=pl.col("blank").all())
            .filter(pl.col("cut") | pl.col("empty"))
        )
        if touched.height == 0:
            return Outcome.changing(texts)
        rebuilt = _rebuilt(lines.join(touched.select("document"), on="document", how="semi", maintain_order="left"))
        where, why = rebuilt["document"], no_text(len(texts))
        return Outcome(texts.clone().scatter(where, rebuilt["text"]), why.scatter(where, rebuilt["why"]))

    def _cut_by(self, lines: pl.Series) -> pl.Series:
        """The first rule that cuts a line, String [n]; null where it stays."""
        line = pl.col("line")
        short = line.str.len_chars() <= self.max_boilerplate_chars
        cuts = [(rule, short & line.str.contains("|".join(f"(?:{p})" for p in PATTERNS[rule]))) for rule in self.rules]
        cuts += [("pattern", line.str.contains(pattern)) for pattern in self.patterns]
        if self.max_symbol_share is not None:
            n_symbols = line.str.count_matches(r"[^\p{L}\p{M}\p{N}\s]")
            n_chars = line.str.len_chars() - line.str.count_matches(r"\s")
            cuts.append(("symbols", n_symbols > self.max_symbol_share * n_chars))
        if self.max_run_chars is not None:
            in_runs = count_runs(*code_points(lines), self.max_run_chars + 1)
            cuts.append(("run of one character", pl.lit(pl.Series(in_runs > 0))))
        if self.require_sentence_end:
            cuts.append(("no sentence end", ~line.str.contains(SENTENCE_END) & line.str.contains(r"\S")))
        nothing = pl.lit(None, dtype=pl.String)
        named = pl.coalesce(*(pl.when(cut).then(pl.lit(rule)) for rule, cut in cuts), nothing)
        return pl.DataFrame({"line": lines}).with_columns(rule=named)["rule"]


def _rebuilt(lines: pl.DataFrame) -> pl.DataFrame:
    """Documents that lost lines, or hold none: `document`, `text` (null where nothing is left), `why`."""
    documents = lines.group_by("document", maintain_order=True).agg(
        text=pl.col("line").filter(pl.col("rule").is_null()).str.join("\n").str.strip_chars("\n"),
        n_lines=(~pl.col("blank")).sum(),
        n_cut=pl.col("rule").count(),
    )
    cuts = (
        lines.filter(pl.col("rule").is_not_null())
        .group_by("document", "rule", maintain_order=True)
        .len()
        .group_by("document", maintain_order=True)
        .agg(cuts=pl.format("{} {}", "len", "rule").str.join(", "))
    )
    documents = documents.join(cuts, on="document", how="left", maintain_order="left")
    return documents.select(
        "document",
        text=pl.when(pl.col("text").str.contains(r"\S")).then("text"),
        why=pl.when(pl.col("n_cut") == 0)
        .then(pl.lit("no text"))
        .otherwise(pl.format("{} of {} lines: {}", "n_cut", "n_lines", "cuts")),
    )
