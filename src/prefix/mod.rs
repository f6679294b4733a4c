//! Sets of address prefixes.
