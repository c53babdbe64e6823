//! What the search must find, and what it must not.
