"""The known mistakes of the book chapter that this code is read beside, and of its four companions, worked out.

The texts are Chinese: S000 is the chapter, 第05章 Transformer 架构与GPT-2模型; S001 to S004 are

    S001  Transformer架构：GPT-2模型剖析
    S002  Transformer 的出现：改变计算范式的 GPT 系列
    S003  Transformer架构：residual连接、层归一化和GPT-2模型解析
    S004  GPT-2原理与代码实例讲解

S001 is signed 禅与计算机程序设计艺术. The texts are not here, but for the lines that a test quotes (says), and the
listings and tables that it runs or works out again (texts/). Each mistake has a number, E001-14 is one of S001's, and
either a test with that number in its name or a row in facts.py.

    test_E001_14_...   the text's own formula, listing or number gives what is wrong, and this package what is right
    facts.py           what no computation can show, with a source

To add one, count it in test_bookkeeping.py, and tell of it in an entry of tests/chapter/, which makes docs/chapter.md.
"""
