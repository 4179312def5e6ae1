"""Unicode scripts: which one a text is written in, which characters belong to a target, and the guard on bytes; and
the languages that folders are named by.

The target of a set of scripts is made of the characters whose EVERY script (Script_Extensions, else Script) is chosen:
"、" (U+3001) serves Hangul and a dozen more, so for Hangul alone it is other text, which must not change.

A byte-level base has pieces that end inside a character, so "holds a target character" is asked of bytes there: some
lead byte, with the bytes after it, must be a prefix that begins target characters and nothing else. A base without a
piece for E0 AE spells all of Tamil as E0, AE and a byte, so its first merge joins E0 and AE, or there is none: a single
other character of these first two bytes would leave Tamil without a token. Hence two rules that widen the target.

  Rows: 64 code points that share all bytes but the last. An unassigned code point counts as the target's where every
  assigned character of its row does. No text has it today; a later Unicode may give it to another script.
  Borrowed: a character that stands alone among letters of one script, is named after that script, and that
  Script_Extensions gives to others too (`BORROWED`), counts as that script's.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

import numpy as np
import numpy.typing as npt

from vocabopt.errors import OptionError

N_CODE_POINTS = 0x110000
JAPANESE = ("Han", "Hiragana", "Katakana")
# Japanese cannot be written without kana, Chinese does without: the share tells them apart wherever the line is drawn.
MIN_KANA_SHARE = 0.10
# From this share of the letters on a writing system is a language of the text, not quotations in it.
MIN_SCRIPT_SHARE = 0.10

#: The sign of the baht and the Georgian paragraph separator are Common, the Tamil aytham is borrowed by neighbours.
#: Each is the one such character in its row; without them the guard could let no piece begin there.
BORROWED = {"Georgian": "\u10fb", "Tamil": "\u0b83", "Thai": "\u0e3f"}

_ROW = 64
_NOT_A_WRITING_SYSTEM = {"Common", "Inherited", "Unknown", "Katakana_Or_Hiragana"}


# --- Scripts of text -------------------------------------------------------------------------------------------------


def dominant_script(text: str) -> str | None:
    """The script with most characters in `text` ("Hangul", "Old_Italic"), None when no character has one."""
    return next(iter(scripts_of_counts(Counter(text))), None)


def scripts_of_counts(char_counts: Mapping[str, int]) -> dict[str, int]:
    """Characters per script, most frequent first; Common, Inherited and Unknown are left out."""
    starts, values, names = _script_ranges()
    code_points = np.fromiter(map(ord, char_counts), dtype=np.int64, count=len(char_counts))
    scripts = values[np.searchsorted(starts, code_points, side="right") - 1]
    n_chars: Counter[str] = Counter()
    for script, count in zip(scripts.tolist(), char_counts.values(), strict=True):
        n_chars[names[script]] += count
    counted = ((name, n) for name, n in n_chars.items() if n > 0 and name not in _NOT_A_WRITING_SYSTEM)
    return dict(sorted(counted, key=lambda item: (-item[1], item[0])))


def find_target_scripts(char_counts: Mapping[str, int], min_share: float = MIN_SCRIPT_SHARE) -> tuple[str, ...]:
    """What `--script auto` takes: all writing systems but Latin that hold `min_share` of the letters, and the largest.

    None, (), where Latin has more letters than those together (on a draw they win) or where there are no letters. Han,
    Hiragana and Katakana count as one writing system where kana are at least a tenth of the three; otherwise Han is
    Chinese with quotations.
    """
    n_chars = scripts_of_counts(char_counts)
    n_letters = sum(n_chars.values())
    n_japanese = sum(n_chars.get(script, 0) for script in JAPANESE)
    n_kana = n_japanese - n_chars.get("Han", 0)
    writing_systems: dict[tuple[str, ...], int] = {(script,): n for script, n in n_chars.items()}
    if n_japanese > 0 and n_kana >= MIN_KANA_SHARE * n_japanese:
        writing_systems = {scripts: n for scripts, n in writing_systems.items() if scripts[0] not in JAPANESE}
        writing_systems[JAPANESE] = n_japanese
    n_latin = writing_systems.pop(("Latin",), 0)
    largest = min(writing_systems, key=lambda scripts: (-writing_systems[scripts], scripts), default=())
    taken = {scripts: n for scripts, n in writing_systems.items() if n >= min_share * n_letters or scripts == largest}
    if sum(taken.values()) < n_latin:
        return ()
    return tuple(sorted(script for scripts in taken for script in scripts))


def parse_scripts(value: str, *, flag: str = "--script") -> tuple[str, ...] | None:
    """`--script`: "auto" is None (look at the text), "none" is (), else canonical names, sorted, from "Hangul,hani"."""
    if value.strip().lower() == "auto":
        return None
    if value.strip().lower() == "none":
        return ()
    from fontTools.unicodedata import Scripts

    names = [(code, name) for code, name in Scripts.NAMES.items() if name not in _NOT_A_WRITING_SYSTEM]
    # By name and by ISO code: "hangul" and "hang" are Hangul.
    known = {_loose(key): name for code, name in names for key in (code, name)}
    chosen = set()
    for part in value.split(","):
        loose = _loose(part)
        if loose not in known:
            written = scripts_of_language(part)
            close = sorted({known[match] for match in get_close_matches(loose, known, n=3, cutoff=0.75)})
            meant = written or " or ".join(close)
            hint = f"Did you mean {meant}? " if meant else ""
            raise OptionError(
                f"{flag} {value!r}: {part.strip()!r} is not a Unicode script. {hint}"
                "Give auto, none, or names such as Hangul or Han,Hiragana,Katakana."
            )
        chosen.add(known[loose])
    return tuple(sorted(chosen))


def _loose(name: str) -> str:
    """Names compare without case, space, hyphen and underscore, as Unicode asks of property values."""
    return re.sub(r"[-_\s]", "", name).lower()


@cache
def _script_ranges() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int16], list[str]]:
    """First code point of each range of one script, that script as an index, and the names it points at."""
    from fontTools.unicodedata import Scripts

    codes = sorted(Scripts.NAMES)
    index = {code: i for i, code in enumerate(codes)}
    values = np.array([index[code] for code in Scripts.VALUES], dtype=np.int16)
    return np.array(Scripts.RANGES, dtype=np.int64), values, [Scripts.NAMES[code] for code in codes]


# --- Target characters -----------------------------------------------------------------------------------------------


@cache
def target_mask(scripts: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """For each of the 0x110000 code points: is it a character of the target (see the module's first lines)?"""
    from fontTools.unicodedata import ScriptExtensions, Scripts

    codes = {code for code, name in Scripts.NAMES.items() if name in scripts}
    assert len(codes) == len(scripts), f"not the names parse_scripts gives: {scripts}"
    by_script = _spread(Scripts.RANGES, [value in codes for value in Scripts.VALUES])
    has_extensions = _spread(ScriptExtensions.RANGES, [value is not None for value in ScriptExtensions.VALUES])
    all_chosen = _spread(
        ScriptExtensions.RANGES, [value is not None and value <= codes for value in ScriptExtensions.VALUES]
    )
    mask: npt.NDArray[np.bool_] = np.where(has_extensions, all_chosen, by_script)
    mask[[ord(BORROWED[name]) for name in scripts if name in BORROWED]] = True
    # Unassigned code points follow their row.
    is_unassigned = _spread(Scripts.RANGES, [value == "Zzzz" for value in Scripts.VALUES])
    rows = mask.reshape(-1, _ROW)
    is_targets = rows.any(axis=1) & (rows | is_unassigned.reshape(-1, _ROW)).all(axis=1)
    mask |= np.repeat(is_targets, _ROW)
    mask.flags.writeable = False  # one array serves every caller
    return mask


@cache
def serving_mask(scripts: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """For each of the 0x110000 code points: is one of its scripts (Script_Extensions, else Script) among these?"""
    from fontTools.unicodedata import ScriptExtensions, Scripts

    codes = {code for code, name in Scripts.NAMES.items() if name in scripts}
    by_script = _spread(Scripts.RANGES, [value in codes for value in Scripts.VALUES])
    shared = _spread(ScriptExtensions.RANGES, [bool(value and value & codes) for value in ScriptExtensions.VALUES])
    return by_script | shared


def _spread(starts: list[int], values: list[bool]) -> npt.NDArray[np.bool_]:
    """One value per range of code points -> one value per code point."""
    return np.repeat(np.array(values), np.diff([*starts, N_CODE_POINTS]))


def contains_target(text: str, scripts: tuple[str, ...]) -> bool:
    """Does `text` hold a character of the target?"""
    return _target_pattern(scripts).search(text) is not None


@cache
def _target_pattern(scripts: tuple[str, ...]) -> re.Pattern[str]:
    """The target as a character class: searching it is some 15 times faster than asking the mask of each character."""
    edges = np.flatnonzero(np.diff(target_mask(scripts), prepend=False, append=False)).tolist()
    ranges = [rf"\U{first:08x}-\U{end - 1:08x}" for first, end in zip(edges[::2], edges[1::2], strict=True)]
    return re.compile(f"[{''.join(ranges)}]" if ranges else r"(?!)")


# --- The guard on bytes ----------------------------------------------------------------------------------------------

# States of the automaton. Prefixes that begin only target characters, or none, share a state per number of bytes still
# to come; each prefix that begins both has a state of its own.
BETWEEN = 0  # nothing is pending
_OUTSIDE = 0  # 1, 2, 3: one, two, three bytes to come, no target character among the outcomes
_INSIDE = 3  # 4, 5, 6: one, two, three bytes to come, nothing but target characters
_FIRST_MIXED = 7

_CONTINUATION_BYTES = range(0x80, 0xC0)
# Length of the encoding -> its lead bytes, its first code point. C0, C1 and F5-FF occur in no encoding.
_LEAD_BYTES = {2: (range(0xC2, 0xE0), 0x80), 3: (range(0xE0, 0xF0), 0x800), 4: (range(0xF0, 0xF5), 0x10000)}


@dataclass(frozen=True, eq=False)
class ByteGuard:
    """An automaton over UTF-8 bytes that tells, at each byte, whether the character so far can only be a target one.

    A byte that cannot follow (a lead byte inside a character) is read as if nothing were pending; a continuation byte
    with nothing pending is skipped. Neither occurs in a piece that comes from text and starts at a character.
    """

    next_state: npt.NDArray[np.int16]  # [n_states, 256]
    accepts: npt.NDArray[np.bool_]  # [n_states, 256]


@cache
def byte_guard(scripts: tuple[str, ...]) -> ByteGuard:
    """The guard of `scripts`; without scripts it accepts nothing."""
    return guard_of_mask(target_mask(scripts))


def guard_of_mask(mask: npt.NDArray[np.bool_]) -> ByteGuard:
    """The guard of any set of code points, given as a mask over all of them."""
    encodable = np.ones(N_CODE_POINTS, dtype=np.bool_)
    encodable[0xD800:0xE000] = False  # surrogates have no UTF-8, so they count neither way
    n_encodable_below = np.concatenate([[0], np.cumsum(encodable)])
    n_target_below = np.concatenate([[0], np.cumsum(mask & encodable)])
    next_rows = [np.zeros(256, dtype=np.int16) for _ in range(_FIRST_MIXED)]
    accept_rows = [np.zeros(256, dtype=np.bool_) for _ in range(_FIRST_MIXED)]

    def step(state: int, byte: int, bits: int, n_to_come: int, lowest: int) -> None:
        """Fill in `byte` from `state`: it makes a prefix of value `bits` with `n_to_come` bytes still to come."""
        first = max(bits << 6 * n_to_come, lowest)
        end = max(first, min((bits + 1) << 6 * n_to_come, N_CODE_POINTS))
        n_encodable = n_encodable_below[end] - n_encodable_below[first]
        n_target = n_target_below[end] - n_target_below[first]
        accept_rows[state][byte] = n_target == n_encodable > 0
        if n_to_come == 0:
            next_rows[state][byte] = BETWEEN
        elif n_target == 0:
            next_rows[state][byte] = _OUTSIDE + n_to_come
        elif n_target == n_encodable:
            next_rows[state][byte] = _INSIDE + n_to_come
        else:
            mixed = next_rows[state][byte] = len(next_rows)
            next_rows.append(np.zeros(256, dtype=np.int16))
            accept_rows.append(np.zeros(256, dtype=np.bool_))
            for following in _CONTINUATION_BYTES:
                step(mixed, following, bits << 6 | following & 0x3F, n_to_come - 1, lowest)

    accept_rows[BETWEEN][:0x80] = mask[:0x80]
    for length, (leads, lowest) in _LEAD_BYTES.items():
        for lead in leads:
            step(BETWEEN, lead, lead & (0x7F >> length), length - 1, lowest)
    next_state, accepts = np.stack(next_rows), np.stack(accept_rows)
    for n_to_come in (1, 2, 3):
        next_state[_OUTSIDE + n_to_come, 0x80:0xC0] = _OUTSIDE + n_to_come - 1 if n_to_come > 1 else BETWEEN
        next_state[_INSIDE + n_to_come, 0x80:0xC0] = _INSIDE + n_to_come - 1 if n_to_come > 1 else BETWEEN
    accepts[_INSIDE + 1 : _INSIDE + 4, 0x80:0xC0] = True
    for cannot_follow in (slice(0, 0x80), slice(0xC0, 0x100)):
        next_state[1:, cannot_follow] = next_state[BETWEEN, cannot_follow]
        accepts[1:, cannot_follow] = accepts[BETWEEN, cannot_follow]
    next_state.flags.writeable = accepts.flags.writeable = False  # one guard serves every caller
    return ByteGuard(next_state=next_state, accepts=accepts)


def piece_is_guarded(piece: bytes, guard: ByteGuard) -> bool:
    """May a byte-level base learn `piece`: does it start a character, and hold what can only be target characters?

    The piece may end inside a character.
    """
    if not piece or piece[0] in _CONTINUATION_BYTES:
        return False
    state = BETWEEN
    for byte in piece:
        if guard.accepts[state, byte]:
            return True
        state = int(guard.next_state[state, byte])
    return False


# --- Languages: ko, kor, ko-KR, ko_KR, kor_Hang, korean --------------------------------------------------------------
#
# A code is taken for a language only where text comes in such folders: the languages with a two-letter code (ISO 639-1)
# by that code, their three-letter codes (ISO 639-2) or English name, and by three letters the languages of FLORES-200
# and of Wikipedia. The whole of ISO 639-3 would not do: it gives a language to src, sub, raw, law, old, doc and most
# other three letters that name a folder. Words among the codes here that mostly name folders are left out as well.

#: Two letters = three letters, names.
_TWO_LETTERS = """
aa=aar,afar ab=abk,abkhazian ae=ave,avestan af=afr,afrikaans ak=aka,akan am=amh,amharic an=arg,aragonese
ar=ara,arabic as=asm,assamese av=ava,avaric ay=aym,aymara az=aze,azerbaijani ba=bak,bashkir be=bel,belarusian
bg=bul,bulgarian bi=bis,bislama bm=bam,bambara bn=ben,bengali bo=bod,tib,tibetan br=bre,breton bs=bos,bosnian
ca=cat,catalan ce=che,chechen ch=cha,chamorro co=cos,corsican cr=cre,cree cs=ces,cze,czech cu=chu,slavonic
cv=chv,chuvash cy=cym,wel,welsh da=dan,danish de=deu,ger,german dv=div,divehi,dhivehi dz=dzo,dzongkha ee=ewe,ewe
el=ell,gre,greek en=eng,english eo=epo,esperanto es=spa,spanish et=est,estonian eu=eus,baq,basque
fa=fas,per,persian,farsi ff=ful,fula,fulah fi=fin,finnish fj=fij,fijian fo=fao,faroese fr=fra,fre,french
fy=fry,frisian ga=gle,irish,gaelic gd=gla gl=glg,galician gn=grn,guarani gu=guj,gujarati gv=glv,manx ha=hau,hausa
he=heb,hebrew hi=hin,hindi ho=hmo hr=hrv,croatian ht=hat,haitian hu=hun,hungarian hy=hye,arm,armenian
hz=her,herero ia=ina,interlingua id=ind,indonesian ie=ile ig=ibo,igbo ii=iii ik=ipk,inupiaq io=ido
is=isl,ice,icelandic it=ita,italian iu=iku,inuktitut ja=jpn,japanese jv=jav,javanese ka=kat,geo,georgian
kg=kon,kongo ki=kik,kikuyu kj=kua kk=kaz,kazakh kl=kal,greenlandic km=khm,khmer,cambodian kn=kan,kannada
ko=kor,korean kr=kau,kanuri ks=kas,kashmiri ku=kur,kurdish kv=kom,komi kw=cor,cornish ky=kir,kyrgyz,kirghiz
la=lat,latin lb=ltz,luxembourgish lg=lug,luganda,ganda li=lim,limburgish ln=lin,lingala lo=lao,lao
lt=lit,lithuanian lu=lub lv=lav,latvian mg=mlg,malagasy mh=mah,marshallese mi=mri,mao,maori mk=mkd,mac,macedonian
ml=mal,malayalam mn=mon,mongolian mr=mar,marathi ms=msa,may,malay mt=mlt,maltese my=mya,bur,burmese,myanmar na=nau
nb=nob,bokmal nd=nde ne=nep,nepali ng=ndo,ndonga nl=nld,dut,dutch nn=nno,nynorsk no=nor,norwegian nr=nbl
nv=nav,navajo ny=nya,chichewa,nyanja oc=oci,occitan oj=oji,ojibwa om=orm,oromo or=ori,odia,oriya os=oss,ossetian
pa=pan,punjabi,panjabi pi=pli,pali pl=pol,polish ps=pus,pashto,pushto pt=por,portuguese qu=que,quechua
rm=roh,romansh rn=run,kirundi ro=ron,rum,romanian ru=rus,russian rw=kin,kinyarwanda sa=san,sanskrit
sc=srd,sardinian sd=snd,sindhi se=sme sg=sag,sango si=sin,sinhala,sinhalese sk=slk,slo,slovak sl=slv,slovenian
sm=smo,samoan sn=sna,shona so=som,somali sq=sqi,alb,albanian sr=srp,serbian ss=ssw,swati st=sot,sesotho
su=sun,sundanese sv=swe,swedish sw=swa,swahili ta=tam,tamil te=tel,telugu tg=tgk,tajik th=tha,thai ti=tir,tigrinya
tk=tuk,turkmen tl=tgl,tagalog tn=tsn,tswana to=ton,tongan tr=tur,turkish ts=tso,tsonga tt=tat,tatar tw=twi,twi
ty=tah,tahitian ug=uig,uyghur,uighur uk=ukr,ukrainian ur=urd,urdu uz=uzb,uzbek ve=ven,venda vi=vie,vietnamese
vo=vol,volapuk wa=wln,walloon wo=wol,wolof xh=xho,xhosa yi=yid,yiddish yo=yor,yoruba za=zha,zhuang
zh=zho,chi,chinese,mandarin zu=zul,zulu
"""

#: Languages without a code of two letters; some names of them; and codes of one variety whose language has two letters.
_THREE_LETTERS = """
ace acm acq ady aeb alt ang apc ars ary arz ast awa azb ban bar bcl bem bho bjn bpy brx bug bxr cbk cdo ceb chr
cjk ckb crh csb dag dik din diq doi dsb dty dyu egy ext fil fon frp frr fur fuv gag gan gcr glk gom gor got grc
gsw guc hak haw hbo hif hil hmn hne hsb hsn ilo inh jam jbo jje kaa kab kac kam kbd kbp kea kha kmb kok krc krl
kum lad lbe lez lij lld lmo lrc ltg lua luo lus lzh mad mag mai mdf mhr mni mos mrj mwl myv mzn nan nap nds nqo
nso nus nyn okm pag pam pap pcm pms pnb prs rmy rue sah sat scn sco shi shn srn stq szl taq tcy tet tpi tum tyv
tzm udm umb vec vep vro war wuu xal xmf yue zea zgh zxx zza
fil=filipino yue=cantonese ceb=cebuano haw=hawaiian
als=sq arb=ar ayr=ay azj=az cmn=zh ekk=et gaz=om khk=mn kmr=ku knc=kr lvs=lv npi=ne ory=or pbt=ps pes=fa plt=mg
quy=qu swh=sw uzn=uz ydd=yi zsm=ms
"""

#: Codes here that mostly name a folder where they do: bak is also Bashkir, mac Macedonian, run Rundi.
_FOLDER_WORDS = frozenset(
    ("arm", "bak", "ban", "bar", "bug", "div", "ext", "geo", "ice", "mac", "mad", "may", "min", "per", "run", "war")
)

#: Languages written in several scripts, whose texts are no more one set than those of two languages.
_SEVERAL_SCRIPTS = frozenset(["az", "bs", "kk", "ks", "ku", "ky", "mn", "pa", "sd", "sr", "tg", "tt", "ug", "uz", "zh"])

#: Scripts that languages other than those in Latin are written in, by the shortest codes of the languages.
_SCRIPTS = """
Hangul=ko Han,Hiragana,Katakana=ja Han=zh,yue,lzh,wuu,gan,hak Thai=th Lao=lo Khmer=km,kha Myanmar=my,mnw,shn
Greek=el,grc Hebrew=he,yi,hbo Arabic=ar,fa,ur,ps,sd,ug,ckb,ks,arz,ary,acm,acq,aeb,apc,ars,azb,glk,mzn,skr,pnb
Armenian=hy Georgian=ka,xmf
Cyrillic=ru,uk,be,bg,mk,sr,kk,ky,tg,mn,tt,ba,cv,os,ce,ab,av,kv,cu,sah,tyv,udm,mhr,mrj,myv,mdf,bxr,xal,lbe,lez,krc,kbd
Devanagari=hi,mr,ne,sa,kok,bho,mai,mag,awa,hne,doi,brx,dty Bengali=bn,as,bpy Gurmukhi=pa Gujarati=gu Oriya=or Tamil=ta
Telugu=te,tcy Kannada=kn Malayalam=ml Sinhala=si Tibetan=bo,dz Ethiopic=am,ti Thaana=dv Nko=nqo Cherokee=chr
Ol_Chiki=sat Tifinagh=zgh,tzm Canadian_Aboriginal=iu,cr,oj Meetei_Mayek=mni Yi=ii
"""

#: Languages in Latin that are named here: others have none, since a code of an unlisted language may be in any script.
_IN_LATIN = """en fr de es it pt nl pl cs sk sl hr hu ro fi et lv lt sv da nb nn no is ga cy eu ca gl tr az uz tk vi id
ms tl fil sw ha yo ig zu xh so af sq bs mt la eo jv su"""

_TAG = re.compile(r"([a-z]{2,3})(?:[-_]([a-z]{4}))?(?:[-_](?:[a-z]{2}|[0-9]{3}))?", re.IGNORECASE)


def _codes() -> dict[str, str]:
    """Every code and name, in lower case -> the shortest code of the language."""
    codes: dict[str, str] = {}
    for entry in _TWO_LETTERS.split():
        code, _, others = entry.partition("=")
        codes |= dict.fromkeys((code, *others.split(",")), code)
    for entry in _THREE_LETTERS.split():
        code, _, other = entry.partition("=")
        codes |= {code: other} if len(other) == 2 else dict.fromkeys(filter(None, (code, other)), code)
    return {name: code for name, code in codes.items() if name not in _FOLDER_WORDS}


_CODE_OF = _codes()


def scripts_of_language(language: str) -> str | None:
    """The script of a language by its code or English name, as --script takes it; None where none is known.

    "ko", "ko-KR" and "korean" are Hangul, "ja" is Han,Hiragana,Katakana.
    """
    code = (language_of(language.strip()) or "").partition("-")[0]
    for entry in _SCRIPTS.split():
        scripts, _, codes = entry.partition("=")
        if code in codes.split(","):
            return scripts
    return "Latin" if code in _IN_LATIN.split() else None


def language_of(folder: str) -> str | None:
    """The language that a folder's name means, as its shortest code; None where the name means none.

    A region says nothing (ko-KR is ko); a script does where the language is written in several (zh-Hant).
    """
    if folder.lower() in _CODE_OF:
        return _CODE_OF[folder.lower()]
    tag = _TAG.fullmatch(folder)
    code = None if tag is None else _CODE_OF.get(tag[1].lower())
    if tag is None or code is None:
        return None
    return f"{code}-{tag[2].title()}" if tag[2] and code in _SEVERAL_SCRIPTS else code
