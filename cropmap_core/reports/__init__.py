"""What reports share: the page they stand on, how figures are drawn, and layers of points that go with them."""
