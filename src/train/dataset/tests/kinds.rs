//! Tables as pandas, Postgres, Spark, BigQuery, R and Excel write them.

use super::*;
use crate::train::TrainError;
use crate::train::split::Split;

fn categories(table: &Table, column: &str) -> Option<Vec<String>> {
    let found = table.features.iter().find(|feature| feature.name == column);
    found.unwrap_or_else(|| panic!("no {column:?}")).categories.clone()
}

fn names(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

fn classes(table: &Table) -> &[String] {
    let TargetValues::Classes { names, .. } = &table.target.values else { panic!("a regression") };
    names
}

fn notes(text: &str, columns: &Columns) -> Vec<String> {
    let all = |outline: &Outline| Ok::<_, DatasetError>(((0..outline.rows).collect(), Vec::new()));
    Table::read_divided(&[file(text).path().into()], columns, all).unwrap().notes
}

/// The first rows train, the others test.
fn read_in_two(text: &str, train: usize, columns: &Columns) -> Result<DividedTable, DatasetError> {
    let divide = |outline: &Outline| Ok::<_, DatasetError>(((0..train).collect(), (train..outline.rows).collect()));
    Table::read_divided(&[file(text).path().into()], columns, divide)
}

/// Case b01.
#[test]
fn booleans_are_the_same_however_they_are_spelt() {
    for (yes, no) in [("True", "False"), ("true", "false"), ("TRUE", "FALSE"), (" True", "False ")] {
        let text = format!("active,x,churn\n{yes},1,{no}\n{no},2,{yes}\n,3,{yes}\n");
        let table = read(&text, &columns("churn")).unwrap();
        assert_eq!(categories(&table, "active"), Some(names(&["false", "true"])), "{yes}");
        assert_eq!(classes(&table), ["false", "true"], "{yes}");
        assert_eq!(table.rows.column(0).to_vec()[..2], [1.0, 0.0]);
        let numeric = Columns { numeric: vec!["active".into()], ..columns("churn") };
        assert_eq!(read(&text, &numeric).unwrap().rows.column(0).to_vec()[..2], [1.0, 0.0], "{yes}");
    }
    // As other texts they stay what they are.
    let table = read("x,y\nTrue,a\nMaybe,b\n", &columns("y")).unwrap();
    assert_eq!(categories(&table, "x"), Some(names(&["Maybe", "True"])));
}

/// Case b03.
#[test]
fn words_for_nothing_are_missing_or_named() {
    let text = |word: &str| {
        let rows: String = (0..40)
            .map(|row| format!("{},{}\n", if row % 8 == 0 { word.to_owned() } else { row.to_string() }, row % 2))
            .collect();
        format!("amount,t\n{rows}")
    };
    for word in
        ["NULL", "None", "N/A", "n/a", "\\N", "<NA>", "#N/A", "NAN", "nan", "NaN", "null", "NA", "", "  ", " NA"]
    {
        let text = text(word);
        let table = read(&text, &columns("t")).unwrap();
        assert_eq!(categories(&table, "amount"), None, "{word:?}");
        assert_eq!(table.rows.column(0).iter().filter(|value| Gap::of(**value) == Some(Gap::Missing)).count(), 5);
        assert!(notes(&text, &columns("t")).is_empty(), "{word:?}");
    }
    for word in ["?", "-", "--", "unknown", "1O.5", "1 200"] {
        let text = text(word);
        let notes = notes(&text, &columns("t"));
        assert!(
            notes.len() == 1
                && notes[0].contains(r#"column "amount" is categorical, though 35 of its 40 cells are numbers"#)
                && notes[0].contains(&format!("{word:?}, 5 times, first in line 2"))
                && notes[0].contains(&format!("--na '{word}'")),
            "{notes:?}"
        );
        let options =
            Columns { options: ReadOptions { na: vec![word.into()], ..ReadOptions::default() }, ..columns("t") };
        assert_eq!(categories(&read(&text, &options).unwrap(), "amount"), None, "{word:?}");
        let asked = Columns { categorical: vec!["amount".into()], ..columns("t") };
        assert!(self::notes(&text, &asked).is_empty());
    }
}

/// As Excel and reports write them.
#[test]
fn numbers_with_separators_and_signs_are_named() {
    let text = |cell: &str| {
        let rows: String = (0..40).map(|row| format!("\"{}\";{row};{}\n", cell.replace('#', "7"), row % 2)).collect();
        format!("amount;x;t\n{rows}")
    };
    for cell in ["$1,00#.50", "12 %", "1_000", "1'00#.5", "1,00#,000", "-€5", "5\u{a0}000"] {
        let notes = notes(&text(cell), &columns("t"));
        let expected = format!(
            "column \"amount\" is categorical, though its cells look like numbers, such as {:?} in line 2: ",
            cell.replace('#', "7")
        );
        assert!(notes.last().unwrap().contains(&expected), "{cell}: {notes:?}");
    }
    for cell in ["red", "2024-01-01", "10:30", "1-2", "A 5", "5th", "52.5, 13.4", "x,y"] {
        let notes = notes(&text(cell), &columns("t"));
        assert!(!notes.iter().any(|note| note.contains("amount")), "{cell}: {notes:?}");
    }
}

/// Case b04.
#[test]
fn blanks_stay_where_they_are_and_make_no_difference() {
    let text = "age, work, income\n 62, Private, >50K\n51,\" State-gov\", <=50K\n44, Private, <=50K\n";
    for target in ["income", " income"] {
        let table = read(text, &columns(target)).unwrap();
        assert_eq!(table.features.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["age", " work"]);
        assert_eq!(categories(&table, " work"), Some(names(&[" Private", " State-gov"])));
        assert_eq!((table.target.name.as_str(), classes(&table)), (" income", &names(&[" <=50K", " >50K"])[..]));
        assert_eq!(table.rows[[0, 0]], 62.0);
    }
    let dropped = Columns { drop: vec!["work".into()], ..columns("income") };
    assert_eq!(read(text, &dropped).unwrap().features.len(), 1);
}

/// Case b05.
#[test]
fn separators_and_decimal_commas_are_detected_and_reported() {
    for (text, expected) in [
        ("preis;menge;ok\n5,25;8;no\n4,74;7;yes\n", "';' separates the cells, decimals have a comma"),
        ("preis;menge;ok\n5.25;8;no\n4.74;7;yes\n", "';' separates the cells"),
        ("preis\tmenge\tok\n5.25\t8\tno\n4.74\t7\tyes\n", "tabs separate the cells"),
        ("preis|menge|ok\n5.25|8|no\n4.74|7|yes\n", "'|' separates the cells"),
        ("sep=;\npreis;menge;ok\n5,25;8;no\n4,74;7;yes\n", "';' separates the cells, decimals have a comma"),
        ("'preis','menge','ok'\n5.25,8,'no'\n4.74,7,'yes'\n", "'\\'' quotes them"),
    ] {
        let table = read(text, &columns("ok")).unwrap();
        assert_eq!(table.rows.column(0).to_vec(), [5.25, 4.74], "{text}");
        assert_eq!(classes(&table), ["no", "yes"], "{text}");
        let notes = notes(text, &columns("ok"));
        assert!(notes.len() == 1 && notes[0].ends_with(&format!(": {expected}")), "{notes:?}");
    }
    let spark = "note,ok\n\"say \\\"hi\\\" now\",no\n\"a, b\",yes\n";
    let table = read(spark, &columns("ok")).unwrap();
    assert_eq!(categories(&table, "note"), Some(names(&["a, b", "say \"hi\" now"])));
    let forced = ReadOptions { delimiter: Some(b'~'), decimal: Some(','), ..ReadOptions::default() };
    let options = Columns { options: forced, ..columns("ok") };
    assert_eq!(read("preis~ok\n5,25~no\n4,74~yes\n", &options).unwrap().rows.column(0).to_vec(), [5.25, 4.74]);
    // Places are those of an editor, behind the line of Excel too.
    let numeric = Columns { numeric: vec!["a".into()], ..columns("ok") };
    let problem = problem("sep=;\na;ok\n1;no\nx;yes\n", &numeric);
    assert!(problem.contains("line 4, column \"a\""), "{problem}");
}

/// Case b10.
#[test]
fn large_integers_are_exact() {
    let (even, odd) = ("9007199254740992", "9007199254740993");
    let classification = Columns { task: Some(Task::Classification), categorical: vec!["shop".into()], ..columns("t") };
    let text = format!("shop,t\n{odd},{odd}\n{even},{even}\n18446744073709551615,-{odd}\n");
    let table = read(&text, &classification).unwrap();
    assert_eq!(classes(&table), [&format!("-{odd}"), even, odd]);
    assert_eq!(categories(&table, "shop"), Some(names(&[even, odd, "18446744073709551615"])));
    assert_eq!(table.task(), Task::Classification);
    // Without being asked for.
    assert_eq!(classes(&read(&format!("x,t\n1,{odd}\n2,{even}\n"), &columns("t")).unwrap()), [even, odd]);
}

/// Case b11.
#[test]
fn times_of_all_writers_are_read() {
    for form in [
        "2024-01-0D 03:04:05+00:00",
        "2024-01-0D 03:04:05.25+00",
        "2024-01-0D 03:04:05+01",
        "2024-01-0DT03:04:05+0000",
        "2024-01-0D 03:04:05 UTC",
        "2024-01-0dt03:04:05z",
        "2024-01-0D 03:04:05,25",
        "1965-01-0D",
    ] {
        let rows: String = (1..=4)
            .map(|day| format!("\"{}\",{day},{}\n", form.replace(['D', 'd'], &day.to_string()), day % 2))
            .collect();
        let options = Columns { time: Some("when".into()), ..columns("t") };
        let times = read(&format!("when,x,t\n{rows}"), &options).unwrap().times.unwrap();
        assert_eq!(times.scale, Scale::Iso8601, "{form}");
        assert!(times.rows.windows(2).all(|pair| pair[1] - pair[0] == 86_400.0), "{form}: {:?}", times.rows);
    }
}

#[test]
fn what_a_column_is_follows_from_the_rows_that_train() {
    let rows = |from: usize, to: usize| (from..to).map(|row| format!("{row},{}.5,a\n", row)).collect::<String>();
    let text = format!("x,y,c\n{}oops,1.5,a\n{}7,oops,a\n9,?,b\n", rows(0, 40), rows(41, 45));
    let divided = read_in_two(&text, 40, &columns("y")).unwrap();
    assert_eq!(divided.train.task(), Task::Regression);
    assert_eq!(divided.train.features[0], Column { name: "x".into(), categories: None });
    // Rows with a target that is none are left out; the bad feature is one that the model rejects.
    assert_eq!((divided.train.len(), divided.test.len()), (40, 5));
    assert_eq!(Gap::of(divided.test.rows[[0, 0]]), Some(Gap::String));
    let notes = divided.notes.join("\n");
    assert!(notes.contains(r#"column "x" is numeric as in all rows that train; 1 of its cells"#), "{notes}");
    assert!(notes.contains("\"oops\" in line 42") && notes.contains("the target, column \"y\""), "{notes}");

    // As soon as one of them trains, it counts, and the note names it.
    let divided = read_in_two(&text, 41, &Columns { drop: vec!["c".into()], ..columns("y") }).unwrap();
    assert!(divided.train.features[0].categories.is_some());
    assert!(
        divided.notes[0].contains("\"y\"") && divided.notes[1].contains("\"oops\" in line 42"),
        "{:?}",
        divided.notes
    );
    let numeric = Columns { numeric: vec!["x".into()], ..columns("y") };
    let problem = read_in_two(&text, 41, &numeric).unwrap_err().to_string();
    assert!(problem.ends_with(r#"line 42, column "x": "oops" isn't a number"#), "{problem}");

    // Neither a fraction nor a 21st whole number in a row that tests makes a regression of a classification.
    let counts: String = (0..60).map(|row| format!("{row},{}\n", if row < 40 { row % 15 } else { row })).collect();
    let divided = read_in_two(&format!("x,y\n{counts}1,0.5\n"), 40, &columns("y")).unwrap();
    assert_eq!(divided.train.task(), Task::Classification);

    // Categories that only rows have that test, however many, are unknown ones.
    let many: String = (0..3000)
        .map(|row| format!("{},{}\n", if row < 10 { "a".into() } else { format!("v{row}") }, row % 2))
        .collect();
    let divided = read_in_two(&format!("x,y\n{many}"), 10, &columns("y")).unwrap();
    assert_eq!(Gap::of(divided.test.rows[[2989, 0]]), Some(Gap::Unknown));
}

#[test]
fn other_files_for_the_test_have_no_say_either() {
    let table = read("x,y\n1,0.5\n2,1.5\n", &columns("y")).unwrap();
    let test = table.read_like(&[file("x,y\noops,1\n3,oops\n4,2\n").path().into()], None, Limits::default()).unwrap();
    assert_eq!((test.len(), test.without_target), (2, 1));
    assert_eq!(Gap::of(test.rows[[0, 0]]), Some(Gap::String));
}

#[test]
fn a_stratified_split_is_by_the_classes() {
    let rows: String = (0..30).map(|row| format!("{row},{}\n", ["a", "b", "c"][row % 3])).collect();
    let split = Split::Stratified { test_size: 0.2, seed: 1 };
    let data = file(&format!("x,y\n{rows}"));
    let divided = Table::read_divided(&[data.path().into()], &columns("y"), |outline| split.choose(outline)).unwrap();
    let TargetValues::Classes { rows, .. } = &divided.test.target.values else { panic!() };
    assert_eq!([0, 1, 2].map(|class| rows.iter().filter(|row| **row == class).count()), [2, 2, 2]);
    let numbers = file("x,y\n1,0.5\n2,1.5\n");
    let error: TrainError =
        Table::read_divided(&[numbers.path().into()], &columns("y"), |it| split.choose(it)).unwrap_err();
    assert!(matches!(error, TrainError::NoStrata { .. }));
}

#[test]
fn folders_are_tables_and_their_names_columns() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("year=2023/city=S%C3%A3o/part-0.csv", "x,y\n1,a\n2,b\n"),
        ("year=2024/city=__HIVE_DEFAULT_PARTITION__/part-0.csv", "x,y\n3,a\n"),
        ("year=2024/city=Bonn/part-0.csv", "y,x\nb,4\n"),
        ("year=2024/city=Bonn/.part-0.csv.crc", "?"),
        ("_SUCCESS", ""),
    ] {
        let path = folder.path().join("out=1/table").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let paths = files(&[folder.path().join("out=1/table").display().to_string()]).unwrap();
    let all = |outline: &Outline| Ok::<_, DatasetError>(((0..outline.rows).collect(), Vec::new()));
    let divided = Table::read_divided(&paths, &columns("y"), all).unwrap();
    let table = divided.train;
    let found: Vec<_> = table.features.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(found, ["x", "year", "city"]);
    assert_eq!(table.rows.column(1).to_vec(), [2023.0, 2023.0, 2024.0, 2024.0]);
    assert_eq!(categories(&table, "city"), Some(names(&["Bonn", "São"])));
    // The file of the missing city comes after that of Bonn.
    let column = table.rows.column(2);
    assert_eq!((column[0], column[2].is_nan() || column[3].is_nan()), (1.0, true));
    assert!(divided.notes.iter().any(|note| note.contains("\"out\"")), "{:?}", divided.notes);
    let by_year = Columns { time: Some("year".into()), ..columns("y") };
    assert_eq!(Table::read(&paths, &by_year).unwrap().times.unwrap().rows, [2023.0, 2023.0, 2024.0, 2024.0]);
}
