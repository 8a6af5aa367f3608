from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from distill_lab.report.html import Goal, Section, page
from distill_lab.report.plots import lines, main_effects

ATTACK = "<script>alert('x')</script>"


class Tags(HTMLParser):
    """Collects opened tags and checks that each is closed."""

    def __init__(self, document):
        super().__init__()
        self.open, self.seen, self.links = [], [], []
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "action")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def full_section(text="text"):
    return Section(
        heading=text,
        verdict=(Goal(text, text, text, True), Goal("size", "50 %", "at most 40 %", False)),
        text=(text,),
        tables=([{text: text, "n": 1234}],),
        figures=((lines([1, 2], {"a": [1, 2]}, "t", "x", "y"), text),),
    )


def test_every_user_text_is_escaped():
    document = page(ATTACK, [full_section(ATTACK)])
    assert "<script" not in document
    # Title twice, heading, three texts of a card, paragraph, table head and cell, alt, caption.
    assert document.count("&lt;script&gt;") == 11


def test_text_cannot_leave_an_attribute():
    figure = lines([1, 2], {"a": [1, 2]}, "t", "x", "y")
    document = page("t", [Section("h", figures=((figure, '" onerror="alert(1)'),))])
    assert '" onerror=' not in document


def test_the_document_needs_nothing_else():
    tags = Tags(page("t", [full_section()]))
    assert all(link.startswith("data:image/png;base64,") for link in tags.links)
    assert not {"script", "link", "iframe", "a"} & set(tags.seen)


def test_every_tag_is_closed():
    tags = Tags(page("t", [full_section(), Section("empty")]))
    assert tags.open == []
    assert tags.seen.count("section") == 2


def test_figures_are_embedded_as_readable_images():
    document = page("t", [full_section()])
    (data,) = re.findall(r"base64,([^\"]+)\"", document)
    assert Image.open(io.BytesIO(base64.b64decode(data))).format == "PNG"


def test_only_wide_figures_take_a_whole_row():
    wide = main_effects({f"k{i}": [("a", 1.0, None, 1)] for i in range(3)}, "accuracy")
    narrow = lines([1, 2], {"a": [1, 2]}, "t", "x", "y")
    document = page("t", [Section("h", figures=((wide, "w"), (narrow, "n")))])
    assert document.count("<figure") == 2
    assert document.count('<figure class="wide"') == 1


def test_numbers_are_formatted_and_right_aligned():
    document = page("t", [full_section()])
    assert '<td class="number">1,234</td>' in document
    assert '<th class="number">n</th>' in document


@pytest.mark.parametrize(("ok", "mark"), [(True, "met"), (False, "missed")])
def test_a_card_says_in_words_whether_the_goal_is_met(ok, mark):
    document = page("t", [Section("h", verdict=(Goal("size", "50 %", "at most 40 %", ok),))])
    (word,) = re.findall(r'class="mark">. (\w+)<', document)
    assert word == mark


def test_a_table_without_rows_is_left_out():
    assert "<table" not in page("t", [Section("h", tables=([],))])
