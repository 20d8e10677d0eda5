//! What is measured of the journal as a whole. The tests of its parts stand beside them.

mod costs;
