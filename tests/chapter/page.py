"""The table as two pages: docs/chapter.md, and docs/chapter.zh.md for whoever has the book open."""

import functools
import re
import textwrap
from collections import defaultdict

from tests.errata import facts, test_bookkeeping
from tests.errata.test_bookkeeping import KNOWN

from .glossary import GLOSSARY
from .names import ROOT, find, find_file, relative
from .points import POINTS
from .s000 import S000
from .s001 import S001
from .s002 import S002
from .s003 import S003
from .s004 import S004
from .table import NOTHING, Both
from .words import COMMENTS, SOURCES, WORDS

TEXTS = (S000, S001, S002, S003, S004)
PAGES = {"docs/chapter.md": "whole", "docs/glossary.md": "glossary"}
HAN, MARK = r"[\u4e00-\u9fff]", r"[\u2014\u2018-\u201d\u2026\u3001-\u303f\uff01-\uff65]"
proven = functools.cache(test_bookkeeping.proven)        # the number of a mistake -> the tests that work it out


class Page:
    """One page, in the language `tongue`, "zh" or "en"."""

    def __init__(self, tongue):
        self.tongue, self.lines = tongue, []
        self.words = {name: getattr(both, tongue) for name, both in WORDS.items()}

    # ---- the parts of a page

    def whole(self):
        """All of it, as the file holds it."""
        self.lines = []
        self.add(self.words["made"], f"# {self.words['title']}")
        self.paragraphs(self.linked(self.words["head"].format(**counts())))
        self.contents()
        self.add(f"## {self.words['points']}")
        self.paragraphs(self.words["points_head"])
        for i in range(1, len(POINTS) + 1):
            self.add(f"### {self.point_heading(i)}")
            self.entry(POINTS[i - 1])
        for text in TEXTS:
            self.add(f"## {self.text_heading(text)}")
            for section in text.sections:
                self.add(f"{'###' if not section.depth else '####'} {self.heading(text, section)}")
                for entry in section.entries:
                    if entry.title != NOTHING:
                        self.add(f"##### {self.titled(entry.title)}")
                    self.entry(entry)
                if links := list(self.elsewhere(f"{text.number} {section.number}")):
                    self.labelled("elsewhere", self.listed(links) + self.words["stop"])
        self.add(f"## {self.words['back']}")
        self.paragraphs(self.words["back_head"])
        self.add("\n".join([self.words["back_table"], "|---|---|", *map(self.back_row, sections_of_files().items())]))
        return "\n\n".join(self.lines) + "\n"

    def glossary(self):
        """The words, in a table for each part."""
        self.lines = []
        self.add(self.words["made"], f"# {self.words['glossary']}")
        self.paragraphs(self.words["glossary_head"])
        for part, terms in GLOSSARY:
            self.add(f"## {getattr(part, self.tongue)}")
            rows = [(term, f"| {term.zh} | {term.en} |", f"| {term.en} | {term.zh} |") for term in terms]
            self.add("\n".join([self.words["glossary_table"], "|---|---|---|---|", *(
                f"{zh if self.tongue == 'zh' else en} {getattr(term.what, self.tongue)} | "
                f"{self.listed(map(self.any_link, term.where.split()))} |" for term, zh, en in rows)]))
        return "\n\n".join(self.lines) + "\n"

    def contents(self):
        """A line of links for every text."""
        rows = [f"- [{self.words['points']}](#{slug(self.words['points'])})"]
        for text in TEXTS:
            links = [f"[{s.number}](#{self.slug_of(text, s)})" for s in text.sections if s.entries]
            heading = self.text_heading(text)
            rows.append(f"- [{heading}](#{slug(heading)}){self.words['colon']}\n  {' '.join(links)}")
        rows.append(f"- [{self.words['back']}](#{slug(self.words['back'])})")
        self.add("\n".join(rows))

    def entry(self, entry):
        """The lines of one entry."""
        if entry.where:
            self.labelled("where", self.listed(self.code_link(name) for name in entry.where.split()))
        self.paragraphs(self.said(entry.here))
        if "\n" in entry.run or (entry.run and not is_command(entry.run)):
            self.add(self.words["run"], f"```python\n{self.commented(entry.run.strip())}\n```")
            if entry.prints:
                self.add("```text\n" + entry.prints.strip("\n") + "\n```")
        elif entry.run:
            self.labelled("run", f"`{entry.run}`")
        shown = [*entry.shown.split(), *tests_of(entry.errata)]
        if shown:
            self.labelled("shown", self.listed(map(self.proof_link, shown)))
        self.in_the_text(entry)
        if sources := [f"{number}{self.words['of']}{self.source(facts.FACTS[number].source)}"
                       for number in entry.errata.split() if number in facts.FACTS]:
            self.labelled("sources", self.words["and_then"].join(sources) + self.words["stop"])
        if entry.missing != NOTHING:
            self.labelled("missing", self.said(entry.missing))
        if entry.like:
            self.labelled("like", self.section_link(entry.like) + self.words["stop"])

    def in_the_text(self, entry):
        links = [f"[{i}](#{slug(self.point_heading(i))})" for i in entry.points]
        points = self.words["see_points" if links[1:] else "see_point"].format(self.joined(links)) if links else ""
        said = self.said(entry.text)
        if points or said:
            self.labelled("text", points + (" " if points and said and self.tongue == "en" else "") + said)

    def back_row(self, row):
        path, places = row
        links = [f"[{place}](#{slug(self.heading(*find_section(place)))})" for place in places]
        return f"| [{path.removeprefix('gpt2np/')}](../{path}) | {self.listed(links)} |"

    # ---- links

    def code_link(self, name):
        if name.endswith((".py", "/", ".md")):
            return self.file_link(name)
        name, path = find(name)
        return f"[`{name}`]({self.target(path)})"

    def any_link(self, name):
        """To code of the package, of its checks, or of the tests."""
        of_proof = name.split(".")[0] in ("checks", "planted")
        return self.proof_link(name) if of_proof else self.code_link(name)

    def proof_link(self, name):
        name, path = find(name, of_proof=True)
        return f"[`{name}`]({self.target(path)})"

    def file_link(self, name):
        path = find_file(name)
        in_english = self.words["in_english"] if path.suffix == ".md" and self.twin(path) == path else ""
        return f"[{self.words.get(name, name)}]({self.target(path)}){in_english}"

    def section_link(self, place):
        return f"[{place}](#{slug(self.heading(*find_section(place)))})"

    def elsewhere(self, place):
        """Links to what other pages have of a section: a corrected listing, exercises."""
        for page in ("listings.md", "exercises.md"):
            path = find_file(page)
            for heading in re.findall(r"^#{2,} (.*)", self.twin(path).read_text(encoding="utf-8"), re.M):
                if re.search(rf"{place}(?![.\d]| Q)", spelled_out(heading)):
                    name = re.sub(r"S00\d [S\d.,、 Q]*|[（(].*", "", heading).strip()
                    label = self.words[f"of_{page}"].format(name)
                    yield f"[{label}]({self.target(path)}#{slug(heading)})"

    def target(self, path):
        """The way to a file from the page: to its Chinese twin, if there is one, from the Chinese page."""
        path = self.twin(path)
        inside = relative(path) + "/" * path.is_dir()
        return inside.removeprefix("docs/") if inside.startswith("docs/") else "../" + inside

    def twin(self, path):
        twin = path.with_name("README.zh-CN.md" if path.name == "README.md" else path.stem + ".zh.md")
        return twin if self.tongue == "zh" and path.suffix == ".md" and twin.exists() else path

    # ---- headings

    def titled(self, title):
        """A heading of the book, in its own words; on the English page with what they mean."""
        if title.zh == title.en or self.tongue == "zh":
            return getattr(title, self.tongue)
        return f"{title.zh} ({title.en})"

    def heading(self, text, section):
        return f"{text.number} {section.number} {self.titled(Both(section.zh, section.en))}"

    def text_heading(self, text):
        return f"{text.number} {self.titled(Both(text.zh, text.en))}"

    def point_heading(self, i):
        return f"{i}. {getattr(POINTS[i - 1].title, self.tongue)}"

    def slug_of(self, text, section):
        return slug(self.heading(text, section))

    # ---- words

    def said(self, both):
        """What is said in this page's language."""
        return self.linked(joined(getattr(both, self.tongue)))

    def linked(self, words):
        """With its links: [[GPT2.hidden]], [[shapes.md]], [[S000 4.2]]."""
        def link(match):
            name = match[1]
            if re.fullmatch(r"S00\d .*", name):
                return self.section_link(name)
            return self.proof_link(name) if name.startswith("test_") else self.code_link(name)
        return re.sub(r"\[\[(.*?)\]\]", link, words)

    def source(self, source):
        """A fact's source, its addresses as links; on the Chinese page with the words around titles in Chinese."""
        linked = re.sub(r"https?://[^\s,;]+", r"<\g<0>>", source)
        for english, chinese in SOURCES.items() if self.tongue == "zh" else ():
            linked = re.sub(english, chinese, linked)
        return linked

    def commented(self, code):
        """The lines to run, with their comments in this page's language."""
        for comment, chinese in COMMENTS.items() if self.tongue == "zh" else ():
            code = code.replace(f"# {comment}", f"# {chinese}")
        return code

    def listed(self, parts):
        return self.words["comma"].join(parts)

    def joined(self, parts):
        """1, 2 and 3"""
        *first, last = parts
        return self.listed(first) + (self.words["and"] if first else "") + last

    def add(self, *blocks):
        self.lines += blocks

    def labelled(self, label, words):
        self.paragraphs(f"{self.words[label]} {words}" if self.tongue == "en" else f"{self.words[label]}{words}")

    def paragraphs(self, words):
        self.add(*(self.wrapped(paragraph) for paragraph in words.split("\n\n") if paragraph.strip()))

    def wrapped(self, paragraph):
        """Up to 120 columns, but code, formulas and links in one piece; Chinese as one line, for a break is a blank."""
        if self.tongue == "zh" or is_table(paragraph):
            return with_blanks_before_formulas(joined(paragraph))
        whole = re.sub(r"`[^`]+`|\$[^$]+\$|\[[^\]]*\]\([^)]*\)", lambda m: m[0].replace(" ", "\0"), joined(paragraph))
        lines = textwrap.wrap(whole, 120, break_long_words=False, break_on_hyphens=False)
        assert not any(re.match(r"([-+*>#]|1[.)]) ?", line) for line in lines[1:]), f"a line begins a list: {lines}"
        return "\n".join(lines).replace("\0", " ")


def pages():
    """(path, the text that it should have) of every page that is made of the table."""
    for path, make in PAGES.items():
        for tongue, ending in (("en", ".md"), ("zh", ".zh.md")):
            yield ROOT / path.replace(".md", ending), getattr(Page(tongue), make)()


def joined(words):
    """Lines as one: without a blank between Chinese characters, or beside a mark of full width. But a table's stay."""
    paragraphs = [re.sub(r"\s*\n\s*", "\n", p.strip()) for p in words.split("\n\n")]
    no_blank = re.compile(rf"(?<={HAN})\n(?={HAN})|(?<={MARK})\n|\n(?={MARK})")
    return "\n\n".join(p if is_table(p) else no_blank.sub("", p).replace("\n", " ") for p in paragraphs)


def is_table(paragraph):
    return paragraph.startswith("|")


def with_blanks_before_formulas(words):
    """Behind a mark of full width: GitHub takes a $ for the beginning of a formula behind a blank alone."""
    return re.sub(rf"(?<={MARK})\$[^$]+\$", r" \g<0>", words)


def slug(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def is_command(run):
    return run.startswith(("python ", "make ", "pip "))


# ---- what follows from the table


def find_section(place):
    """(text, section) of "S000 3.2"."""
    number, inside = place.split(" ", 1)
    found = [(text, s) for text in TEXTS for s in text.sections if (text.number, s.number) == (number, inside)]
    assert len(found) == 1, f"no section {place}"
    return found[0]


def tests_of(errata):
    """The tests that work mistakes out, each once."""
    return dict.fromkeys(name for number in errata.split() for name in proven().get(number, ()))


def counts():
    return {"proven": len(proven()), "known": len(KNOWN), "told": len(KNOWN) - len(proven())}


def sections_of_files():
    """gpt2np/... -> the sections whose entries name something in it, from top to bottom."""
    found = defaultdict(dict)
    for text in TEXTS:
        for place, entry in text.entries():
            for name in entry.where.split():
                path = find_file(name) if name.endswith((".py", "/", ".md")) else find(name)[1]
                if path.suffix == ".py" and relative(path).startswith("gpt2np/"):
                    found[relative(path)][place] = None
    return {path: list(places) for path, places in sorted(found.items())}


def spelled_out(heading):
    """ "S000 3.2, 4.2; S001 4.1" with every section in full: "S000 3.2, S000 4.2; S001 4.1"."""
    last = ""

    def full(match):
        nonlocal last
        last = match[1] or last
        return f"{last}{match[2]}"
    return re.sub(r"(S00\d )?(\b9 Q\d|\b\d(?:\.\d)+)", full, heading)
