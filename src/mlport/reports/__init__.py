"""Reports as one self-contained HTML file: blocks in, text out; no scripts, nothing loaded from anywhere.

`blocks` is what a page is made of, `charts` draws as SVG, `page.render` writes the file. Charts are drawn here: matplotlib's SVG
turns text into outlines with fixed colours, follows neither a dark page nor a phone, and weighs 30 MB beside NumPy.
"""
