"""The report of a sweep: one self-contained page, and its figures as files for papers.

`page.write_report` makes it. Importing what draws takes half a second, so that only commands that draw import `page`.
"""
