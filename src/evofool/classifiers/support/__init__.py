"""What the kinds of classifiers share, and what they are made from; nothing here is a kind itself."""
