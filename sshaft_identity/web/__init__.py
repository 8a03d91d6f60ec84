"""Reads requests and builds answers for the API, the pages and the faces: forms, cookies, live news and templates."""
