"""The option behind each drop reason: the one to change if a step drops too much or too little.

Reasons have datatrove's names, which seldom match those of the options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_OPTION_OF: Mapping[str, Mapping[str, str]] = {
    "length": {"too_short": "min_chars", "too_long": "max_chars"},
    "language": {"language_score": "min_score", "language_*": "keep", "language_missing": "field"},
    "gopher_quality": {
        "gopher_short_doc": "min_doc_words",
        "gopher_long_doc": "max_doc_words",
        "gopher_below_avg_threshold": "min_avg_word_length",
        "gopher_above_avg_threshold": "max_avg_word_length",
        "gopher_too_many_hashes": "max_symbol_word_ratio",
        "gopher_too_many_ellipsis": "max_symbol_word_ratio",
        "gopher_too_many_bullets": "max_bullet_lines_ratio",
        "gopher_too_many_end_ellipsis": "max_ellipsis_lines_ratio",
        "gopher_below_alpha_threshold": "max_non_alpha_words_ratio",
        "gopher_enough_stop_words": "min_stop_words",
        "gopher_no_stop_words_*": "stop_words",
    },
    "gopher_repetition": {
        "dup_line_frac": "dup_line_frac",
        "dup_para_frac": "dup_para_frac",
        "dup_line_char_frac": "dup_line_char_frac",
        "dup_para_char_frac": "dup_para_char_frac",
        "top_*_gram": "top_n_grams",
        "duplicated_*_n_grams": "dup_n_grams",
    },
    "c4_quality": {
        "too_few_sentences": "min_num_sentences",
        "lorem_ipsum": "filter_lorem_ipsum",
        "curly_bracket": "filter_curly_bracket",
    },
    "fineweb_quality": {
        "line_punct_ratio": "line_punct_thr",
        "short_line_ratio": "short_line_thr",
        "char_dup_ratio": "char_duplicates_ratio",
        "list_ratio": "new_line_ratio",
    },
    "regex": {"regex": "regex_exp"},
    "attribute": {
        "attribute_below": "min",
        "attribute_above": "max",
        "no_attribute": "name",
        "attribute_without_spans": "name",
    },
    "score": {"score_below": "min", "score_above": "max", "no_score": "field", "score_not_a_number": "field"},
}


def option_of(step: str, reason: str) -> str | None:
    """The option that decides a reason of a step, such as `gopher_quality` or its second use `gopher_quality#2`."""
    options = _OPTION_OF.get(step.partition("#")[0], {})
    if reason in options:
        return options[reason]
    patterns = ((re.escape(known).replace(r"\*", "[^ ]+"), option) for known, option in options.items())
    return next((option for pattern, option in patterns if re.fullmatch(pattern, reason)), None)
