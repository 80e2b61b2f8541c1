"""The page of a job: one file that holds all that there is to see, and needs nothing else.

Modules of sections turn results into words, plots and matrices; `assemble` puts them into the
template beside the page's own style and scripts; `write` stores the page.
"""
