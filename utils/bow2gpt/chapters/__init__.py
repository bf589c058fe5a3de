"""What each chapter built, importable. Generated from `chapters/` by `bow2gpt build`: edit there."""
