"""What the API, the pages and the faces share: requests, answers, cookies, forms, live news and templates."""
