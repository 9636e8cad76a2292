"""The chapter and its four companions, section by section: the one table from which both pages are made.

    python -m tests.chapter         writes docs/chapter.md and docs/glossary.md, each with its Chinese twin, the last
                                    line of the docstring of every file that an entry names, and into all Chinese pages
                                    what their twins say is printed

    s000.py ... s004.py             a Section for every heading of the text, and the entries of each (table.py)
    points.py                       what several of the texts get wrong, told once
    glossary.py                     the words in both languages
    words.py                        what the pages say around the table
    page.py, back.py, names.py      how a page is made of it; from the code back; where a name is defined
    twins.py                        which page is whose twin

To add an entry, or to change "not here yet" into one: write it in the file of its text, in Chinese and in English; run
`python -m tests.chapter`; run `python -m pytest tests/chapter tests/test_pages.py -k chapter`, which says what the
lines of `run` print if `prints` says something else. An entry names code, laws and tests, and not their files: those
are found, wherever they are. `where` begins with the name that a reader should begin with, and has few of them; a
mistake's test is found by its number. Below a heading of the book there is always an entry: what cannot be run here is
said in `missing`, with the reason, and `like` leads to the section that has the same.
"""
