"""The pages in Chinese and their English twins; and what can be copied from one to the other: what is printed."""

import re

from .names import ROOT

TWINS = {ROOT / "README.zh-CN.md": ROOT / "README.md"} | {
    page: page.with_name(page.name.replace(".zh.md", ".md")) for page in sorted((ROOT / "docs").glob("*.zh.md"))}
FENCED = re.compile(r"^```(\w*)\n.*?^```$", re.M | re.S)


def with_what_is_printed(chinese, english):
    """The text of a Chinese page with the blocks of its twin that are text or name no language, in their order."""
    def printed(page):
        return [match[0] for match in FENCED.finditer(page) if match[1] in ("", "text")]

    blocks = printed(english)
    if len(blocks) != len(printed(chinese)):
        return chinese                                  # tests/test_twins.py says so
    return FENCED.sub(lambda match: blocks.pop(0) if match[1] in ("", "text") else match[0], chinese)


def pages():
    """(path, the text that it should have) of every Chinese page."""
    for chinese, english in TWINS.items():
        yield chinese, with_what_is_printed(*(page.read_text(encoding="utf-8") for page in (chinese, english)))
