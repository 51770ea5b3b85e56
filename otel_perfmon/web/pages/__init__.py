"""The pages that people look at: one module for each, its template beside it in ``templates/``."""
