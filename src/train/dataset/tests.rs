use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::NamedTempFile;

use super::*;
use crate::limits::Limits;
use crate::record::Gap;

mod kinds;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn columns(target: &str) -> Columns {
    Columns { target: target.into(), ..Columns::default() }
}

fn read(text: &str, columns: &Columns) -> Result<Table, DatasetError> {
    Table::read(&[file(text).path().into()], columns)
}

fn problem(text: &str, columns: &Columns) -> String {
    read(text, columns).unwrap_err().to_string()
}

const FLIGHTS: &str = "\
id,when,delay,carrier,gate,late
a,2013-01-02,1.5,UA,7,yes
b,2013-01-01,NA,B6,8,no
c,2013-01-03,-3,,9,
d,2013-01-04,2e1, AA ,10,no
";

#[test]
fn kinds_are_inferred_and_missing_values_are_gaps() {
    let options = Columns {
        id: Some("id".into()),
        time: Some("when".into()),
        categorical: vec!["gate".into()],
        ..columns("late")
    };
    let table = read(FLIGHTS, &options).unwrap();
    let categories = |names: &[&str]| Some(names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
    let kinds: Vec<_> = table.features.iter().map(|column| (column.name.as_str(), column.categories.clone())).collect();
    assert_eq!(
        kinds,
        [("delay", None), ("carrier", categories(&[" AA ", "B6", "UA"])), ("gate", categories(&["7", "8", "10"]))]
    );
    assert_eq!(table.without_target, 1);
    assert_eq!(table.rows.column(1).to_vec(), [2.0, 1.0, 0.0]);
    assert_eq!(table.rows.column(2).to_vec(), [0.0, 1.0, 2.0]);
    assert_eq!((table.rows[[0, 0]], table.rows[[2, 0]]), (1.5, 20.0));
    assert_eq!(Gap::of(table.rows[[1, 0]]), Some(Gap::Missing));
    assert_eq!(
        table.target.values,
        TargetValues::Classes { names: vec!["no".into(), "yes".into()], rows: vec![1, 0, 0] }
    );
    let times = table.times.unwrap();
    assert_eq!((times.scale, times.rows[0] - times.rows[1]), (Scale::Iso8601, 86_400.0));
}

#[test]
fn gzip_and_a_byte_order_mark_make_no_difference() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all("\u{feff}x,y\n1,a\n".as_bytes()).unwrap();
    // Two members, as `cat a.gz b.gz` makes them.
    let mut bytes = gzip.finish().unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(b"2,b\n").unwrap();
    bytes.extend(gzip.finish().unwrap());
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&bytes).unwrap();
    let table = Table::read(&[file.path().into()], &columns("y")).unwrap();
    assert_eq!((table.features[0].name.as_str(), table.len()), ("x", 2));
}

#[test]
fn the_task_follows_the_target() {
    let task = |values: &[&str]| {
        let lines: String = values.iter().map(|value| format!("1,{value}\n")).collect();
        read(&format!("x,y\n{lines}"), &columns("y")).unwrap().task()
    };
    assert_eq!(task(&["0", "1", "1"]), Task::Classification);
    assert_eq!(task(&["true", "false"]), Task::Classification);
    assert_eq!(task(&["0.5", "1"]), Task::Regression);
    let many: Vec<String> = (0..21).map(|number| number.to_string()).collect();
    assert_eq!(task(&many.iter().map(String::as_str).collect::<Vec<_>>()), Task::Regression);

    let regression = Columns { task: Some(Task::Regression), ..columns("y") };
    assert_eq!(read("x,y\n1,0\n2,1\n", &regression).unwrap().target.values, TargetValues::Numbers(vec![0.0, 1.0]));
    let classification = Columns { task: Some(Task::Classification), ..columns("y") };
    let TargetValues::Classes { names, rows } = read("x,y\n1,10\n2,2\n3,2.0\n", &classification).unwrap().target.values
    else {
        panic!()
    };
    assert_eq!((names, rows), (vec!["2".to_owned(), "10".to_owned()], vec![1, 0, 0]));
    assert!(problem("x,y\n1,0\n2,late\n", &regression).ends_with(r#"line 3, column "y": "late" isn't a number"#));
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    let y = columns("y");
    assert!(problem("x,z\n1,2\n", &y).contains(r#"there is no column "y" (--target); it has x, z"#));
    assert!(problem("x,x,y\n1,2,3\n", &y).contains(r#"two columns are called "x""#));
    assert!(problem("x,,y\n1,2,3\n", &y).contains("column 2 has no name"));
    assert!(problem("", &y).contains("the file is empty"));
    assert!(problem("y\n1\n2\n", &y).contains("no column is left"));
    assert!(problem("x,y\n1,NA\n2,\n", &y).contains("no rows with a target (2 rows lack it)"));
    assert!(problem("x,y\n1,0\n1e999,1\n", &y).contains(r#"line 3, column "x": "1e999" isn't finite"#));
    let numeric = Columns { numeric: vec!["x".into()], ..y.clone() };
    assert!(problem("x,y\n1,0\noops,1\n", &numeric).ends_with(r#"line 3, column "x": "oops" isn't a number"#));
    let timed = Columns { time: Some("t".into()), ..y.clone() };
    assert!(problem("t,x,y\n1,1,0\nJuly,2,1\n", &timed).ends_with(r#"line 3, column "t": "July" isn't a number"#));
    let both = Columns { categorical: vec!["x".into()], ..numeric };
    assert!(problem("x,y\n1,0\n", &both).contains("can't be both"));

    assert!(problem("x,y\n1,0\n1\n", &y).contains("line 3: 1 cells, but the header has 2"));
    assert!(matches!(Table::read(&["/nowhere".into()], &y), Err(DatasetError::Read { .. })));
}

#[test]
fn a_thousand_categories_are_enough() {
    let text = |rows: usize| {
        let lines: String = (0..rows).map(|row| format!("v{row},{}\n", row % 2)).collect();
        format!("x,y\n{lines}")
    };
    assert_eq!(
        read(&text(MAX_CATEGORIES), &columns("y")).unwrap().features[0].categories.as_ref().unwrap().len(),
        1000
    );
    let problem = problem(&text(MAX_CATEGORIES + 1), &columns("y"));
    assert!(
        problem.contains(r#"column "x""#) && problem.contains("\"v1000\" in line 1002") && problem.contains("--drop")
    );
}

#[test]
fn a_second_file_follows_the_first() {
    let options = Columns { time: Some("when".into()), drop: vec!["id".into()], ..columns("late") };
    let table = read(FLIGHTS, &options).unwrap();
    // Other columns, another order, and a carrier that looks like a number.
    let second = "late,note,gate,carrier,delay,when\nyes,x,1,9,0.5,2014-01-01\n";
    let second = table.read_like(&[file(second).path().into()], Some("when"), Limits::default()).unwrap();
    let names = |table: &Table| table.features.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&second), names(&table));
    assert_eq!(second.features[1].categories, Some(vec!["9".to_owned()]));
    assert_eq!(second.rows.row(0).to_vec(), [0.5, 0.0, 1.0]);
    let lacking =
        table.read_like(&[file("late,gate\nyes,1\n").path().into()], None, Limits::default()).unwrap_err().to_string();
    assert!(lacking.contains(r#"there is no column "delay", which the training data has"#));
}

#[test]
fn zstandard_too() {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&zstd::encode_all(&b"x,y\n1,a\n2,b\n"[..], 1).unwrap()).unwrap();
    assert_eq!(Table::read(&[file.path().into()], &columns("y")).unwrap().len(), 2);
}

#[test]
fn several_files_are_one_table() {
    let (first, second) = (file("x,c,y\n1,b,p\n2,,q\n"), file("y,x,c\np,3,a\n"));
    let table = Table::read(&[first.path().into(), second.path().into()], &columns("y")).unwrap();
    assert_eq!(table.rows.column(0).to_vec(), [1.0, 2.0, 3.0]);
    assert_eq!(table.features[1].categories, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((table.rows[[0, 1]], table.rows[[2, 1]]), (1.0, 0.0));
    // A column that is text in one file is text in all.
    let third = file("y,x,c\np,three,a\n");
    let table = Table::read(&[first.path().into(), third.path().into()], &columns("y")).unwrap();
    assert_eq!(table.features[0].categories.as_ref().unwrap(), &["1", "2", "three"]);

    for (other, lacks) in [("x,y\n1,p\n", "\"c\""), ("x,y,c,d\n1,p,a,1\n", "\"d\"")] {
        let other = file(other);
        let error = Table::read(&[first.path().into(), other.path().into()], &columns("y")).unwrap_err().to_string();
        assert!(error.contains(&format!("there is no column {lacks}")), "{error}");
    }
}

#[test]
fn lines_are_counted_as_an_editor_counts_them() {
    let y = columns("y");
    let numeric = Columns { numeric: vec!["x".into()], ..y.clone() };
    for (text, line) in [
        ("x,y\n\n\n1,a\n\noops,b\n", 6),
        ("\n\nx,y\n1,a\noops,b\n", 5),
        ("x,y\r\n1,a\r\n\r\noops,b\r\n", 4),
        ("x,y\n1,\"a\nb\"\noops,b", 4),
        ("\u{feff}x,y\n1,a\noops,b\n", 3),
    ] {
        let problem = problem(text, &numeric);
        assert!(problem.contains(&format!("line {line}, column \"x\"")), "{text:?}: {problem}");
    }
    let ragged = problem("x,y\n1,a\n\n\n1,2,3\n", &y);
    assert!(ragged.contains("line 5: 3 cells, but the header has 2"), "{ragged}");
    let mut latin = NamedTempFile::new().unwrap();
    latin.write_all(b"x,y\n\n1,caf\xe9\n").unwrap();
    let error = Table::read(&[latin.path().into()], &y).unwrap_err().to_string();
    assert!(error.contains("line 3: the text isn't UTF-8"), "{error}");
}

#[test]
fn rare_categories_are_read_where_they_may_be_many() {
    let lines: String = (0..MAX_CATEGORIES + 5).map(|row| format!("v{row},{}\n", row % 2)).collect();
    let options = Columns { rare_categories: true, ..columns("y") };
    let table = read(&format!("x,y\n{lines}"), &options).unwrap();
    assert_eq!(table.features[0].categories.as_ref().unwrap().len(), MAX_CATEGORIES + 5);
    let classes = problem(&format!("y,x\n{lines}"), &columns("y"));
    assert!(classes.contains(r#"the target "y" has more than 1000 different values, such as "v1000" in line 1002"#));
}
