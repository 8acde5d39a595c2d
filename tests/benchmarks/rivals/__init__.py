"""Other servers, each set up as its documentation recommends, answering ``POST /predict`` with the field ``image``."""
