"""The workshop: builds notebooks, modules and exercises from their sources, grades exercises, keeps progress."""
