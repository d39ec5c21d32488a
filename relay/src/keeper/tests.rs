mod bench;
mod invariants;
mod pair;
mod rules;
mod table;
