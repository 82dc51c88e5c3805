"""The codecs: one folder each, over the interface in ``base.py``; ``registry.py`` lists them."""
