"""Secrets that can be told by themselves: the keys and tokens of well-known services, JWTs, private keys, cards.

Most services begin their tokens with letters of their own (github.blog, "Behind GitHub's new authentication token
formats"), so that a table of those is all it takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from otel_perfmon.redaction.patterns import Found

WORD_MIN: Final = 18
"""Characters of letters, digits, ``_`` and ``-`` without which there is no token."""
_BODY_MIN: Final = 14
"""Characters behind the beginning that is a service's own."""
_BEGINNINGS: Final = (
    # source code, packages, builds
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "gldt-", "glptt-", "glrt-", "glcbt-", "glft-"),
    *(
        "glimt-",
        "glagent-",
        "glsoat-",
        "glffct-",
        "GR1348941",
        "_gitlab_session",
        "npm_",
        "pypi-",
        "rubygems_",
        "NuGet",
    ),
    *("oy2", "dckr_pat_", "dckr_oat_", "sqp_", "squ_", "sqa_", "sgp_", "sntrys_", "sntryu_", "CCIPAT_", "CCIPRJ_"),
    *(
        "ATATT3",
        "ATCTT3",
        "ATBB",
        "ATSTT3",
        "bkua_",
        "prf_",
        "rpa_",
        "sbp_",
        "sb_secret_",
        "vcp_",
        "vca_",
        "vck_",
        "vci_",
    ),
    *("vcr_", "nfp_", "nfc_", "nfo_", "nfu_", "nfb_", "rnd_", "cio-", "ddp_", "ddo_", "ddn_", "ddc_"),
    # clouds, hosts, databases
    *("LTAI", "dop_v1_", "doo_v1_", "dor_v1_", "hvs.", "hvb.", "hvr.", "pscale_pw_", "pscale_tkn_", "pscale_oauth_"),
    *(
        "dapi",
        "dp.pt.",
        "dp.st.",
        "dp.ct.",
        "dp.sa.",
        "dp.scim.",
        "dp.audit.",
        "tskey-",
        "HRKU-",
        "fm1_",
        "fm1r_",
        "fm2_",
    ),
    *(
        "fo1_",
        "pul-",
        "AstraCS:",
        "CCDB1_",
        "nxft",
        "PMAK-",
        "PMAT-",
        "rdme_",
        "tfp_",
        "ops_ey",
        "ABSKQmVkcm9ja0FQSUtleS",
    ),
    *(
        "bedrock-api-key-",
        "wrka",
        "exo_",
        "EXO",
        "scw_",
        "tk-us-",
        "tk-eu-",
        "v1.0-",
        "ico-",
        "aio_",
        "napi_",
        "sha256~",
    ),
    # models
    *("sk-", "sk_", "gsk_", "xai-", "hf_", "api_org_", "r8_", "pplx-", "fw_", "tgp_v1_", "nvapi-", "lsv2_", "ls__"),
    *("csk-", "co_", "jina_", "esecret_", "pcsk_", "wandb_v1_", "BSA", "tvly-", "fc-", "e2b_", "apk_", "cog_", "clh"),
    # payment, mail, chat, other services
    *(
        "rk_live_",
        "rk_test_",
        "rk_prod_",
        "whsec_",
        "sq0",
        "EAAA",
        "EAA",
        "FLWSECK",
        "shpat_",
        "shpca_",
        "shppa_",
        "shpss_",
    ),
    *(
        "xoxa-",
        "xoxb-",
        "xoxc-",
        "xoxd-",
        "xoxe-",
        "xoxe.",
        "xoxo-",
        "xoxp-",
        "xoxr-",
        "xoxs-",
        "xapp-",
        "xwfp-",
        "SG.",
    ),
    *(
        "xkeysib-",
        "xsmtpsib-",
        "key-",
        "mlsn.",
        "ntn_",
        "secret_",
        "lin_api_",
        "lin_oauth_",
        "pat-na1-",
        "pat-eu1-",
        "figd_",
    ),
    *("glsa_", "glc_", "NRAK-", "NRJS-", "NRAA-", "NRRA-", "NRSP-", "phx_", "phs_", "pha_", "dt0c01.", "dd_", "CFPAT-"),
    *("duffel_live_", "duffel_test_", "EZAK", "EZTK", "shippo_live_", "shippo_test_", "pk_", "pnu_", "pat_", "pina_"),
    *(
        "AIK_",
        "zpka_",
        "patz",
        "cfxk_",
        "dvc_server_",
        "sk.",
        "pdl_",
        "ion_",
        "xnd_",
        "uca_",
        "AGE-SECRET-KEY-",
        "KEY01",
    ),
    *(
        "BBDC-",
        "s-s4t2",
        "1000.",
        "mergify_",
        "rzp_live_",
        "ak_",
        "bb_live_",
        "lip_",
        "waka_",
        "re_",
        "tr_dev_",
        "tr_prod_",
        "sdk-",
        "api-",
    ),
)
_AMBIGUOUS: Final = frozenset(
    (
        *(
            "sk-",
            "sk_",
            "co_",
            "fc-",
            "dd_",
            "key-",
            "pk_",
            "pat_",
            "ak_",
            "re_",
            "sdk-",
            "api-",
            "secret_",
            "clh",
            "prf_",
        ),
        *(
            "rnd_",
            "oy2",
            "dapi",
            "EAA",
            "BSA",
            "sk.",
            "exo_",
            "EXO",
            "scw_",
            "wrka",
            "ico-",
            "aio_",
            "v1.0-",
            "1000.",
            "ion_",
        ),
        *(
            "NuGet",
            "fw_",
            "pul-",
            "cio-",
            "pha_",
            "uca_",
            "lip_",
            "mergify_",
            "nxft",
            "patz",
            "apk_",
            "cog_",
            "tk-us-",
            "tk-eu-",
        ),
        *(
            "sq0",
            "pdl_",
            "xnd_",
            "rpa_",
            "KEY01",
            "dp.ct.",
            "csk-",
            "esecret_",
            "tfp_",
            "pnu_",
            "phs_",
            "phx_",
            "EZAK",
            "EZTK",
        ),
    )
)
"""Others begin so too: then the rest must have digits and look like no word."""
_HEAD: Final = 3
_by_head: Final[dict[str, tuple[str, ...]]] = {
    head: tuple(each for each in _BEGINNINGS if each.startswith(head))
    for head in {each[:_HEAD] for each in _BEGINNINGS}
}
_token_end = re.compile(r"[A-Za-z0-9_\-.~+/=|:,]{0,1024}").match
_jwt = re.compile(r"ey[JA-Za-z][\w\-]{8,}\.[\w\-]{4,}(?:\.[\w\-]*){0,3}={0,2}", re.ASCII).match
_aws_id = re.compile(r"(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16}").fullmatch
_formed = re.compile(
    r"A3-[A-Z0-9]{6}-[A-Z0-9]{6}-?[A-Z0-9]{5}(?:-[A-Z0-9]{5}){3}"  # 1Password
    r"|AIza[\w\-]{35}|GOCSPX-[\w\-]{28}|ya29\.[\w\-]{20,}|1//0[\w\-]{20,}"  # Google
    r"|[MNO][\w\-]{22,}\.[\w\-]{6}\.[\w\-]{25,}",  # Discord
    re.ASCII,
).match
_twilio = re.compile(r"SK[0-9a-fA-F]{32}").fullmatch
_owner = re.compile(r"(?:[0-9]{8,10}:|[0-9]{15,16}\||00D[0-9A-Za-z]{12}!)$").search
"""Whose token it is: a bot of Telegram, an app of Facebook, an organisation of Salesforce."""
_OWNER_MAX: Final = 18
_mixed = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])").match
_azure = re.compile(r"[\w.~]{3}[0-9]Q~[\w.~\-]{31,34}", re.ASCII).match
_hook = re.compile(
    r"hooks\.slack\.com/(?:services|workflows|triggers)/[\w/]{20,}"
    r"|(?:discord|discordapp)\.com/api/webhooks/[0-9]{10,}/[\w\-]{40,}"
    r"|webhook\.office\.com/[\w@/\-]{40,}",
    re.ASCII,
).match
_pem = re.compile(r"-----BEGIN[ A-Z0-9]{0,40} PRIVATE KEY(?: BLOCK)?-----|-----BEGIN OPENSSH[ A-Z]{0,20}-----").match
_PEM_END: Final = "-----END"
_PEM_END_MAX: Final = 80
_card = re.compile(
    r"(?<![^\W_])(?<![^A-Za-z]\.)(?<![0-9a-fA-F]{4}-)[2-6][0-9]{3}(?:[ \-]?[0-9]){9,15}"
    r"(?![^\W_]|\.[0-9]|-[0-9a-fA-F]{4})"
).finditer
"""Not part of a longer number, of a word or of a UUID."""
_card_tail = re.compile(r"[ \-][0-9]{1,3}$").search
_PHONE_MAX: Final = 15
"""Digits behind a ``+`` (ITU-T E.164)."""
_CARD_LENGTHS: Final = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"3(?:0[0-5]|[68])"), (14,)),
    (re.compile(r"6011|65|64[4-9]|35(?:2[89]|[3-8])"), (16,)),
    (re.compile(r"62"), (16, 17, 18, 19)),
)
"""Issuers' first digits and how many digits their cards have (ISO/IEC 7812)."""


def token_at(text: str, start: int, end: int) -> Found | None:
    """The token of which the word from ``start`` to ``end`` is the beginning, or all, or a part."""
    word = text[start:end]
    if word.startswith("ey"):
        found = _jwt(text, start)
        return found.span() if found else None
    if _aws_id(word) or _twilio(word):
        return start, end
    found = _formed(text, start)
    if found:
        return found.span()
    owner = _owner(text[max(0, start - _OWNER_MAX) : start])
    if owner:
        return start - len(owner[0]), end
    return _known(text, start, end)


def _known(text: str, start: int, end: int) -> Found | None:
    """A word that begins as a service's tokens do; what it begins with may end in a dot, before the word."""
    for first in _firsts(text, start):
        for beginning in _by_head.get(text[first : first + _HEAD], ()):
            if not text.startswith(beginning, first):
                continue
            last = _token_end(text, first)
            stop = last.end() if last else end
            body = text[first + len(beginning) : stop]
            if len(body) < _BODY_MIN or len(set(body[:64])) < _BODY_MIN // 2:
                continue
            if beginning in _AMBIGUOUS and not (_mixed(body) and any(map(_is_dense, re.split(r"[.\-_/=:|,~+]", body)))):
                continue
            return first, stop
    return None


def _firsts(text: str, start: int) -> Iterator[int]:
    """Where a token may begin of which a word was found: there, or up to two parts before, at a dot, colon or tilde."""
    yield start
    first = start
    for _ in range(2):
        if first == 0 or text[first - 1] not in ".:~":
            return
        part = text[max(0, first - 33) : first - 1]
        first -= 1 + len(part) - len(part.rstrip(_WORD_CHARACTERS))
        yield first


_WORD_CHARACTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
_DENSE_MIN: Final = 12


def _is_dense(part: str) -> bool:
    """Whether a part is too long for a word, and mixed: letters with digits, or small with capital ones."""
    return (
        len(part) >= _DENSE_MIN
        and not part.isdigit()
        and (bool(_mixed(part)) or not (part.islower() or part.isupper()))
    )


def find_private_keys(text: str) -> Iterator[Found]:
    """Blocks of PEM that hold a private key; of one that was cut, all the rest."""
    start = text.find("-----BEGIN")
    while start >= 0:
        end = start + 1
        if _pem(text, start):
            last = text.find(_PEM_END, start)
            close = text.find("-----", last + len(_PEM_END), last + _PEM_END_MAX) if last >= 0 else -1
            end = close + 5 if close >= 0 else len(text)
            yield start, end
        start = text.find("-----BEGIN", end)


def find_azure_secrets(text: str) -> Iterator[Found]:
    """Client secrets of Entra ID, which have ``Q~`` in them."""
    place = text.find("Q~")
    while place >= 0:
        found = _azure(text, place - 4) if place >= 4 else None  # noqa: PLR2004 - see the expression
        if found:
            yield found.span()
        place = text.find("Q~", place + 2)


def find_hooks(text: str) -> Iterator[Found]:
    """Addresses that are secrets themselves: who knows them may post."""
    for needle in ("hooks.slack.com", "discord.com/api", "discordapp.com/api", "webhook.office.com"):
        place = text.find(needle)
        while place >= 0:
            found = _hook(text, place)
            if found:
                yield found.span()
            place = text.find(needle, place + len(needle))


def find_cards(text: str) -> Iterator[Found]:
    """Numbers of payment cards: an issuer's first digits and length, and the check digit right."""
    for found in _card(text):
        start, end = found.span()
        tail = None if is_card(found[0]) else _card_tail(found[0])
        if tail:  # 4111111111111111-1
            end = start + tail.start()
        is_phone = text[start - 1 : start] == "+" and end - start <= _PHONE_MAX
        if is_card(text[start:end]) and not is_phone:
            yield start, end


def is_card(text: str) -> bool:
    """Whether digits, perhaps with blanks or hyphens, are a card's number."""
    digits = text.replace(" ", "").replace("-", "")
    if not any(first.match(digits) and len(digits) in lengths for first, lengths in _CARD_LENGTHS):
        return False
    doubled = (2 * int(digit) for digit in digits[-2::-2])
    total = sum(map(int, digits[-1::-2])) + sum(each - 9 if each > 9 else each for each in doubled)  # noqa: PLR2004
    return total % 10 == 0 and len(set(digits)) > 1  # 0000 0000 0000 0000 is nobody's
