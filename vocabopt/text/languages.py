"""Folders that name a language: ko, kor, ko-KR, ko_KR, kor_Hang, korean.

A code is taken for a language only where text comes in such folders: the languages with a two-letter code (ISO 639-1)
by that code, their three-letter codes (ISO 639-2) or English name, and by three letters the languages of FLORES-200 and
of Wikipedia. The whole of ISO 639-3 would not do: it gives a language to src, sub, raw, law, old, doc and most other
three letters that name a folder. Words among the codes here that mostly name folders are left out as well.
"""

import re
from collections.abc import Iterator

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
    written = {of: scripts for scripts, _, codes in _pairs(_SCRIPTS) for of in codes.split(",")}
    return written.get(code, "Latin" if code in _IN_LATIN.split() else None)


def _pairs(table: str) -> Iterator[tuple[str, str, str]]:
    return (entry.partition("=") for entry in table.split())


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
