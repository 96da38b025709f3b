"""Figures as Display classes, in scikit-learn's manner: made ``from_...``, drawn with ``plot(ax=)``.

A new figure is a plain `matplotlib.figure.Figure` that pyplot does not know: nothing has to be closed, and a notebook shows the
display that ends a cell. For a window, give axes of pyplot's as ``ax``. Colours are Okabe and Ito's, and whatever colour tells
apart, a marker, a line style or a hatch tells apart as well.
"""
