"""The page: a comparison and all of its evidence in one HTML file that needs no network.

evidence ──> views (one per section: tables, figures, sentences) ──> template ──> one string

The page is deterministic: the same evidence gives the same bytes. Every number from a run or a build links to the line
of the record or manifest that contains it; the page includes these files whole, with path and SHA-256. Plots are drawn
by plotly.js, which is embedded in compressed form. Every plot has a table with the same numbers, so that nothing is
lost on paper, in a screen reader, or in a browser without scripts.
"""
