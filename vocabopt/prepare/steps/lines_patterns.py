"""What boilerplate looks like on Korean and English pages: patterns by rule, as polars (Rust regex) reads them.

After C4 (Raffel et al., arXiv 1910.10683, section 2.2), which cuts lines that speak of JavaScript, cookies and terms
of use. A corpus may well be about these ("자바스크립트를 배운다"): what is matched is the sentence that a page shows to
its reader ("자바스크립트를 켜 주세요").
"""

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

#: How a sentence ends: with a mark, or a Korean ending; then quotes and brackets.
SENTENCE_END = r"""(?:[.!?…。！？~]|다|요|죠|까|네|음|함|됨|임)["'”’」』》〉)\]]*\s*$"""
