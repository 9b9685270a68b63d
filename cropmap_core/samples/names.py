"""Crops by their common names, in five languages, whatever their accents, case and order of words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

Terms = Mapping[frozenset[str], tuple[str, ...]]
"""Words of a name, and the crops that it may mean."""
_NEGATIONS = frozenset(
    ["no", "non", "not", "without", "sans", "que", "ohne", "nicht", "kein", "keine", "niet", "geen", "zonder", "sin"]
)
"""A text with one of them names what is not meant: "flax, not for fibre", "autre que vanille"."""


def read_names(rows: Iterable[Mapping[str, str]]) -> Terms:
    """Reads a table of names; a name that languages use for different crops means all of them.

    Args:
        rows: With the columns `name` and `crops`, which are separated by `|`.
    """
    terms: dict[frozenset[str], tuple[str, ...]] = {}
    for row in rows:
        words = _words(row["name"])
        terms[words] = tuple(dict.fromkeys((*terms.get(words, ()), *row["crops"].split("|"))))
    return terms


def match_name(text: str, terms: Terms) -> tuple[str, ...]:
    """The crops that a text may mean.

    A term is found where all its words are in the text, in any order; one that is part of a longer one found does not
    count: "winter wheat" is not "wheat".

    Returns:
        Their names, one where it is clear; none where no term is found, or the text says what is not meant.
    """
    words = _words(text)
    if words & _NEGATIONS:
        return ()
    found = [term for term in terms if term <= words]
    longest = [term for term in found if not any(term < other for other in found)]
    return tuple(dict.fromkeys(crop for term in longest for crop in terms[term]))


def _words(text: str) -> frozenset[str]:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return frozenset(re.findall(r"[^\W_]+", plain))
