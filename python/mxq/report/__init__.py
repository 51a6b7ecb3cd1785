"""Pictures and tables of experiments: one HTML page that needs nothing else, and each figure as SVG, PNG and PDF.

runs and foreign read results, figures says what is drawn of them (as charts, in terms of chart.py), draw_plotly and draw_matplotlib
draw any chart, page and markdown put all together.
"""
