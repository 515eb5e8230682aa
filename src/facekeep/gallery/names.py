# ruff: noqa: RUF001 - the letters below are those that look like others
"""Names that look the same: no two people of a gallery get such names by accident."""

from __future__ import annotations

import itertools
import unicodedata

from facekeep.errors import InputError
from facekeep.gallery.types import clean_name

__all__ = ["make_skeletons", "new_name", "normalize_spaces", "quote_name"]

# Invisible code points beyond those of the category Cf (Unicode's Default_Ignorable_Code_Point).
_INVISIBLE = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x3164, 0xFFA0}
_INVISIBLE |= {*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0000, 0xE1000)}
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Letters of other scripts that look like a Latin one (from Unicode TS 39), and the many forms of
# the hyphen, the apostrophe and the space.
_LOOKS = dict(
    itertools.chain(
        zip("АВЕЅІЈКМНОРСТУХҮԌԚԜ", "ABESIJKMHOPCTYXYGQW", strict=True),
        zip("авеѕіјкмнорстухүһԁԛԝӏ", "abesijkmhopctyxyhdqwl", strict=True),
        zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹͿ", "ABEZHIKMNOPTYXCJ", strict=True),
        zip("αβγεηικνορτυχϲϳ", "abyenikvoptuxcj", strict=True),
        zip("ՍՏՕԼԱօսոհցյ", "USOLUounhgj", strict=True),
        zip("ıȷɑɡɩʋ", "ijagiu", strict=True),
        zip("‐‑‒–—―−˗⁃﹘－", "-" * 11, strict=True),
        zip("‘’‚‛′ʹʼʻʽˈ`´＇", "'" * 13, strict=True),
    )
)
_TO_LATIN = str.maketrans(_LOOKS)


def make_skeletons(name: str) -> frozenset[str]:
    """Return what stands for the look of a name: names that share one of these look alike.

    Invisible characters are left out; full-width and other compatible forms, underscores and runs
    of spaces, and upper and lower case are the same; so are letters of several scripts that look
    the same. Accents tell names apart.
    """
    if name.isascii():
        return frozenset((normalize_spaces(name.casefold().replace("`", "'")),))
    text = "".join(c for c in unicodedata.normalize("NFKD", name) if not _is_invisible(c))
    return frozenset(normalize_spaces(_fold(each)) for each in (text, text.translate(_TO_LATIN)))


def new_name(name: object) -> str:
    """Return a new person's name as it is stored, which is stricter than a name to look for.

    Raises:
        InputError: It cannot be used: nothing of it can be seen, or it reorders the text around it.
    """
    clean = clean_name(name)
    if _REORDERING.intersection(clean):
        raise InputError(f"a person's name holds characters that reorder text: {clean!a}")
    if not all(make_skeletons(clean)):
        raise InputError(f"nothing can be seen of a person's name: {clean!a}")
    return clean


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) == "Cf" or ord(character) in _INVISIBLE


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", text).casefold())


def normalize_spaces(name: str) -> str:
    """Return a name with single spaces for underscores and runs of spaces; nothing at its ends."""
    return " ".join(name.replace("_", " ").split())


def quote_name(name: str, other: str) -> str:
    """Write a name so that one sees how it differs from another that looks the same."""
    plain = name.isprintable() and (name.isascii() or not other.isascii())
    return repr(name) if plain else ascii(name)
