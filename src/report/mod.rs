//! What is known, as values for people and programs: the status of feeds, generation, targets, holds and names.
//!
//! Owns the documented JSON of `status` and `history`, and their text. The command line prints it, the control socket carries
//! it, the server shows it. Decides nothing.
