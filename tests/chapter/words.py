"""What the two pages say around the table."""

from .table import Both

# Comments in the lines to run, on the Chinese page.
COMMENTS = {
    "all weights are 0": "权重全为 0",
    '"124M" once it is downloaded': '下载之后可用 "124M"',
    "n queries at a time, over the keys that they see": "一次 n 个查询，只算它们看得到的键",
    "the text's two classes": "书中的两类",
}

# What stands around titles, names and addresses in a source of tests/errata/facts.py, on the Chinese page.
SOURCES = {
    r", abstract and section ([\d.]+)": r"，摘要和第 \1 节",
    r", sections ([\d.]+) and ([\d.]+)": r"，第 \1 和 \2 节",
    r", section ([\d.]+)": r"，第 \1 节",
    r", table (\d+)": r"，表 \1",
    r"^(S00\d [\d.]+), ([\d.]+): (.*)": r"\1、\2：“\3”",
    r"^(S00\d [\d.]+): (.*)": r"\1：“\2”",
    r"; ": "；",
}

WORDS = {
    "made": Both("<!-- 由 python -m tests.chapter 生成，请勿直接修改；要改什么，改 tests/chapter/ 里的表。 -->",
                 "<!-- Made by python -m tests.chapter: change the table in tests/chapter/, not this page. -->"),
    "title": Both("对照阅读：第05章 Transformer 架构与GPT-2模型", "The chapter, section by section"),
    "head": Both(
        """[English](chapter.md)

本页供翻开书的读者对照使用。书是《第05章 Transformer 架构与GPT-2模型》（下称 S000）和与之配套的四篇文章：
S001《Transformer架构：GPT-2模型剖析》、S002《Transformer 的出现：改变计算范式的 GPT 系列》、
S003《Transformer架构：residual连接、层归一化和GPT-2模型解析》、S004《GPT-2原理与代码实例讲解》。
这些文章不在本项目之内；下面的标题与书中完全一致。

每一节都写明：它讲的东西在代码的什么地方；可以运行什么（一条命令，或者几行 Python，复制下来就能运行）；
哪些测试或“性质”（见 [[glossary.md]]）证明代码是对的；书中哪里不对，正确的又是什么。
本项目没有的，写明原因。页末有一张反查表，从代码文件回到书中的章节。

命令和代码都在本项目的文件夹里运行（先按 [[README.md]] 安装，并激活虚拟环境）。命令中的 `FILE` 换成你自己的文本文件，
`DIR` 换成要写入的新文件夹；`demo` 是随代码附带的小模型。

书中已知的 {known} 处错误，有 {proven} 处由 [tests/errata/](../tests/errata/) 中的测试逐一验算：
每个测试都把书中原来的公式、代码或数字与本项目的并列，并以错误的编号命名，例如 S000 的 E000-21。
其余 {told} 处属于事实问题，靠计算证明不了，本页给出出处（也见 [facts.py](../tests/errata/facts.py)）。
要单独运行一个测试：`python -m pytest tests/errata/test_s000_code.py -k E000_21`。
要检验一层的梯度和全部性质：`python -m gpt2np.gradcheck --layer layernorm`。""",
        """[中文](chapter.zh.md)

This page is read beside a book. S000 is its chapter 第05章 Transformer 架构与GPT-2模型, "the architecture of the
Transformer, and GPT-2"; four companion texts are S001 Transformer架构：GPT-2模型剖析, S002 Transformer
的出现：改变计算范式的 GPT 系列, S003 Transformer架构：residual连接、层归一化和GPT-2模型解析 and S004
GPT-2原理与代码实例讲解. The texts are not part of this project; the headings below are theirs.

Of each section it says where its subject is in the code; what to run, a command or a few lines of Python that work as
they stand; which tests or laws ([[glossary.md]] says what a law is) show that the code is right; and where the text is
wrong, with what is right instead. What is not here yet has the reason beside it. The last table leads from the code
back.

Commands and code run in this project's folder, once it is installed and its environment active ([[README.md]]). In a
command, `FILE` stands for a text file of yours, `DIR` for a new folder that is written to; `demo` is the small model
that comes with the code.

Of the texts, [tests/errata/](../tests/errata/) works out {proven} of the {known} known mistakes: each test has the
text's own formula, listing or number beside ours, and the number of the mistake in its name, E000-21 for one of S000's.
The other {told} are matters of fact, which no computation shows; their sources stand here, and in
[facts.py](../tests/errata/facts.py). To run one:
`python -m pytest tests/errata/test_s000_code.py -k E000_21`. To check a layer's gradients and all its laws:
`python -m gpt2np.gradcheck --layer layernorm`."""),
    "glossary": Both("术语表", "Glossary"),
    "glossary_head": Both(
        """[English](glossary.md)

本项目的中文页面所用的术语，对应的英文，以及在代码中的位置。个别用词与书中不同，也在这里注明。""",
        """[中文](glossary.zh.md)

The words that this project uses, what they are called in Chinese, and where each is in the code."""),
    "glossary_table": Both("| 中文 | 英文 | 含义 | 位置 |", "| English | Chinese | what it is | where |"),
    "points": Both("多篇文章共有的错误", "What several of the texts get wrong"),
    "points_head": Both("这些错误反复出现，所以只在这里讲一次。",
                        "These come up again and again, so they stand here once."),
    "back": Both("反查：从代码到章节", "From the code to the sections"),
    "back_head": Both(
        """每个文件开头说明的最后一行（`Chapter: ...`）也写着同样的内容。""",
        """The last line of each file's own description, `Chapter: ...`, says the same."""),
    "back_table": Both("| 文件 | 章节 |", "| file | sections |"),
    "where": Both("**代码**：", "**Where:**"),
    "run": Both("**运行**：", "**Run:**"),
    "shown": Both("**验证**：", "**Shown by:**"),
    "text": Both("**对照原文**：", "**In the text:**"),
    "sources": Both("**出处**：", "**Sources:**"),
    "missing": Both("**本项目没有**：", "**Not here yet:**"),
    "like": Both("**参见**：", "**As in**"),
    "elsewhere": Both("**另见**：", "**See also:**"),
    "see_point": Both("见上文第 {} 点。", "Point {} above."),
    "see_points": Both("见上文第 {} 点。", "Points {} above."),
    "and": Both("、", " and "), "comma": Both("、", ", "), "and_then": Both("；", "; "), "stop": Both("。", "."),
    "colon": Both("：", ":"), "of": Both("：", ": "), "in_english": Both("（英文）", ""),
    "README.md": Both("README", "README"),
    "of_listings.md": Both("改正后的代码 {}", "the listing, corrected: {}"),
    "of_exercises.md": Both("练习：{}", "exercises: {}"),
}
