"""View compressed files in a browser: a local server and a page that decodes in JavaScript."""
