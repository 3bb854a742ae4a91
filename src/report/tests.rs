use std::collections::BTreeMap;

use ndarray::{Array2, array};

use super::*;
use crate::model::bundle::Manifest;
use crate::model::evaluation::Evaluation;
use crate::model::signature::Target;
use crate::model::testing;
use crate::train::evaluate::{classification, regression};

/// What a name from data may be, if somebody means harm.
const EVIL: &str = "<script>alert('1')</script>\"&\u{1b}[31m";

fn manifest() -> Manifest {
    testing::classification("flights").bundle(7, "2013-07-01T00:00:00Z".into()).unwrap().0
}

/// Two classes with these names, predicted well but for one row.
fn evaluation(names: [&str; 2]) -> Evaluation {
    let probabilities = array![[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.1, 0.9]];
    let found = classification(&names.map(String::from), &[0, 0, 1, 1, 1], probabilities.view());
    Evaluation { losses: vec![0.7, 0.5, 0.4], validation_scores: vec![0.5, 0.75, 0.8], ..found }
}

fn text_of(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn headings(page: &str) -> Vec<&str> {
    page.split("<h3>").skip(1).filter_map(|rest| rest.split("</h3>").next()).collect()
}

#[test]
fn a_page_has_every_plot_and_table() {
    let (manifest, evaluation) = (manifest(), evaluation(["no", "yes"]));
    let page = page(Subject { manifest: &manifest, evaluation: &evaluation }, &[("files".into(), "july.csv".into())]);
    let plots = ["ROC", "Precision and recall", "Calibration", "Confusion matrix", "Training loss", "Validation score"];
    let tables = ["By class", "Thresholds", "All rows", "Data", "Model", "Training", "Features"];
    assert_eq!(headings(&page), [&plots[..], &tables].concat());
    assert_eq!(page.matches("<svg").count(), plots.len());
    for part in
        ["<h1>flights@7</h1>", "<tr><th>accuracy</th><td>0.8000</td></tr>", "july.csv", "no predicted as no: 2 rows"]
    {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn a_regression_has_plots_of_its_own() {
    let (actual, predicted) = (array![[1.0], [2.0], [40.0]], array![[1.5], [2.0], [38.0]]);
    let found = regression(&["y".into()], actual.view(), predicted.view());
    let page = page(Subject { manifest: &manifest(), evaluation: &found }, &[]);
    assert_eq!(headings(&page)[..3], ["Predicted and actual", "Residuals", "All rows"]);
    assert_eq!(page.matches("<circle").count(), 6);
}

#[test]
fn a_page_stands_alone_and_names_do_no_harm() {
    let mut manifest = manifest();
    manifest.signature.features[0].name = EVIL.into();
    manifest.signature.target = Target::Classification { name: EVIL.into(), classes: vec![EVIL.into(), "b".into()] };
    manifest.training.recipe.insert(EVIL.into(), EVIL.into());
    let evil = Evaluation { metrics: BTreeMap::from([(EVIL.to_owned(), 1.0)]), ..evaluation([EVIL, "b"]) };
    let one = Subject { manifest: &manifest, evaluation: &evil };
    let data = [(EVIL.to_owned(), EVIL.to_owned())];
    let comparison = Comparison::Regression { mean_difference: 1.0 };
    for page in [page(one, &data), comparison_page([one, one], &comparison, &data)] {
        for outside in ["<script", "alert('", "http:", "https:", "src=", "href=", "url(", "@import", "<link", "\u{1b}"]
        {
            assert!(!page.contains(outside), "{outside}: {page}");
        }
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;\u{fffd}[31m"));
        // What opens is closed, in order: a quote or an angle bracket that came through would break that.
        let mut open = Vec::new();
        for tag in page.split('<').skip(1) {
            let name = tag.split(|c: char| !c.is_ascii_alphanumeric() && c != '/' && c != '!').next().unwrap();
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "{tag}"),
                None if tag.contains("/>") || ["!", "!DOCTYPE", "meta"].contains(&name) => {}
                None => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
    let text = text_of(|out| write_evaluation(out, &evil));
    assert!(text.contains("<script>") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn pages_bear_what_an_evaluation_may_lack() {
    let manifest = manifest();
    let many: Vec<String> = (0..60).map(|class| format!("class {class}")).collect();
    let of_many = classification(&many, &[3, 3, 59], Array2::from_elem((3, 60), 1.0 / 60.0).view());
    let of_one = classification(&["a".into(), "b".into()], &[0], array![[0.5, 0.5]].view());
    let constant = regression(&["y".into()], array![[5.0], [5.0]].view(), array![[5.0], [5.0]].view());
    let huge = regression(&["y".into()], array![[1e308], [-1e308]].view(), array![[0.0], [1.0]].view());
    let html = |evaluation: &Evaluation| page(Subject { manifest: &manifest, evaluation }, &[]);
    for evaluation in [&Evaluation::default(), &of_many, &of_one, &constant, &huge] {
        let page = html(evaluation);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
    assert!(html(&Evaluation::default()).contains("There were no rows to test on."));
    assert!(!html(&of_many).contains("Confusion matrix") && html(&of_many).contains("class 59"));
    assert!(!html(&of_one).contains("<h3>ROC</h3>") && html(&of_one).contains("<h3>Calibration</h3>"));
}

#[test]
fn a_terminal_shows_metrics_classes_and_confusion() {
    let text = text_of(|out| write_evaluation(out, &evaluation(["no", "yes"])));
    let expected = "\
reference  always answering \"yes\" has an accuracy of 0.6000, the model 0.8000: better
metrics on 5 rows
  accuracy            0.8000
  balanced_accuracy   0.8333
  roc_auc             1.0000
  average_precision   1.0000
  precision           1.0000
  recall              0.6667
  f1                  0.8000
  precision_macro     0.8333
  recall_macro        0.8333
  f1_macro            0.8000
  precision_weighted  0.8667
  recall_weighted     0.8000
  f1_weighted         0.8000
  log_loss            0.3414
  brier_score         0.1020
classes
       precision  recall      f1  roc_auc  average_precision  rows
  no      0.6667  1.0000  0.8000   1.0000             1.0000     2
  yes     1.0000  0.6667  0.8000   1.0000             1.0000     3
confusion matrix: rows are actual classes, columns predicted ones
       no  yes
  no    2    0
  yes   1    2
thresholds: what it means to predict yes from a probability on
        precision  recall      f1  flagged
  0.8      1.0000  0.3333  0.5000  20.00 %
  0.55     1.0000  0.6667  0.8000  40.00 %
  0.3      1.0000  1.0000  1.0000  60.00 %
";
    assert_eq!(text, expected);
}

#[test]
fn a_comparison_says_which_is_better() {
    let (a, b) = (evaluation(["no", "yes"]), evaluation(["no", "yes"]));
    let b = Evaluation { metrics: [("accuracy".to_owned(), 0.9), ("log_loss".to_owned(), 0.5)].into(), ..b };
    let disagreement = Disagreement { agreement: 0.9, only_first: 1_200, only_second: 3, p_value: 1e-9 };
    let comparison = Comparison::Classification(disagreement);
    let text = text_of(|out| write_comparison(out, ["m@1", "m@2"], [&a, &b], &comparison));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[2], "  accuracy  0.8000  0.9000     +0.1000  better");
    assert_eq!(lines[3], "  log_loss  0.3414  0.5000     +0.1586   worse");
    assert!(lines[4].contains("Only m@1 is right on 1,200 rows, only m@2 on 3") && lines[4].contains("below 0.0001"));
    let manifest = manifest();
    let [one, two] = [&a, &b].map(|evaluation| Subject { manifest: &manifest, evaluation });
    let page = comparison_page([one, two], &comparison, &[]);
    assert!(page.contains("<td class=\"good\">+0.1000</td>") && page.contains("<td class=\"bad\">+0.1586</td>"));
}

#[test]
fn numbers_have_a_handful_of_digits() {
    let texts = [0.0, 0.123_456, -9.5, 0.000_12, 57.123, 1234.5, 5e9].map(number);
    assert_eq!(texts, ["0.0000", "0.1235", "-9.5000", "1.200e-4", "57.12", "1234", "5.000e9"]);
    assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!([difference(0.5, 0.4), difference(100.0, 120.0)], ["−0.1000", "+20.00"]);
}
