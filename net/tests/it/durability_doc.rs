//! What `docs/DURABILITY.md` says is what the code computes.

#[path = "../../examples/durability/spread.rs"]
mod spread;
#[path = "../../examples/durability/tables.rs"]
mod tables;

#[test]
fn the_tables_of_the_document_are_those_of_the_command() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/DURABILITY.md");
    let document = std::fs::read_to_string(path).unwrap();
    for (name, table) in tables::named() {
        println!("{name}\n\n{table}");
        let marked = format!("<!-- table: {name} -->\n{table}");
        assert!(document.contains(&marked), "the table {name} is not in the document");
    }
}
