"""The page: what a comparison says, with everything behind it, in one HTML file that needs no network.

evidence ──> views (one a section: tables, figures, sentences) ──> template ──> one string

The page is pure: the same evidence gives the same bytes. Every number that a run or a build states leads to the
line of the record or manifest that states it, which the page carries whole, with its path and its SHA-256. Plots are
drawn by plotly.js, which the page carries compressed; each has a table beside it that says the same, so that paper,
a screen reader and a browser without scripts lose nothing.
"""
