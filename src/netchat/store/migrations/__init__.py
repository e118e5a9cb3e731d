"""The schema, one numbered SQL script a version; scripts that were released never change."""
