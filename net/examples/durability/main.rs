//! Prints the tables of `docs/DURABILITY.md`: `cargo run --release -p cairn-net --example durability`.

mod spread;
mod tables;

fn main() {
    print!("{}", tables::all());
}
