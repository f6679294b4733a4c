//! Doors to the operating system.
