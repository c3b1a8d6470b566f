//! `taggant score` and `detect` on Parquet files: what they say of JSON lines of the same rows, to the last bit.

use std::fs;

use crate::run::{folder, program, said};

#[cfg(not(feature = "parquet"))]
#[test]
fn a_build_without_parquet_says_so() {
    let folder = folder("no-parquet");
    fs::write(folder.join("rows.parquet"), "PAR1 and so on").unwrap();
    let mut command = program(&folder);
    command.env("TAGGANT_TEST_KEY", "a".repeat(64));
    let arguments = ["score", "--key", "env:TAGGANT_TEST_KEY", "--spec", "green/1/w1/b2/t1", "rows.parquet"];
    let refused = command.args(arguments).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("build with --features parquet"), "{}", said(&refused));
}

#[cfg(feature = "parquet")]
mod files {
    use std::fs::File;
    use std::path::Path;
    use std::process::Output;
    use std::sync::Arc;

    use parquet::basic::{Compression, GzipLevel, ZstdLevel};
    use parquet::column::writer::{ColumnWriter, ColumnWriterImpl};
    use parquet::data_type::{ByteArray, DataType, Int32Type, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use serde_json::{Value, json};

    use super::*;
    use crate::run::lines;

    /// As pandas writes a table, each column nullable; tokens in the two integer types that are usual.
    const SCHEMA: &str = "message rows {
        required int64 id;
        optional binary epoch (UTF8);
        optional binary prompt (UTF8);
        optional group prompt_tokens (LIST) { repeated group list { optional int64 element; } }
        optional group response_tokens (LIST) { repeated group list { optional int32 element (INTEGER(32,false)); } }
        optional binary response (UTF8);
        optional binary note;
    }";

    /// Writes rows, 700 a group, whatever each of them has of the columns.
    fn write(path: &Path, schema: &str, rows: &[Value], compression: Compression) {
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let names: Vec<String> = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
        let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
        let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, properties).unwrap();
        for rows in rows.chunks(700) {
            let mut group = writer.next_row_group().unwrap();
            for name in &names {
                let mut column = group.next_column().unwrap().unwrap();
                let cells: Vec<&Value> = rows.iter().map(|row| &row[name]).collect();
                match column.untyped() {
                    ColumnWriter::ByteArrayColumnWriter(column) => {
                        fill(column, &cells, |cell| match cell {
                            Value::Array(_) => ByteArray::from(vec![0xff, 0xfe]),
                            text => ByteArray::from(text.as_str().unwrap()),
                        });
                    }
                    ColumnWriter::Int32ColumnWriter(column) => {
                        fill::<Int32Type>(column, &cells, |cell| {
                            i32::try_from(cell.as_i64().unwrap()).unwrap()
                        });
                    }
                    ColumnWriter::Int64ColumnWriter(column) => {
                        fill::<Int64Type>(column, &cells, |cell| cell.as_i64().unwrap());
                    }
                    _ => panic!("no such column in this test"),
                }
                column.close().unwrap();
            }
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    /// Dremel's levels: of a list those of its entries, of none or an empty one a level alone.
    fn fill<T: DataType>(
        column: &mut ColumnWriterImpl<'_, T>,
        cells: &[&Value],
        one: impl Fn(&Value) -> T::T,
    ) {
        let (most, lists) = {
            let described = column.get_descriptor();
            (described.max_def_level(), described.max_rep_level() > 0)
        };
        let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        for cell in cells {
            match cell {
                Value::Null => defined.push(0),
                Value::Array(entries) if lists => {
                    defined.extend(entries.iter().map(|entry| most - i16::from(entry.is_null())));
                    values.extend(entries.iter().filter(|entry| !entry.is_null()).map(&one));
                    repeated.extend((1..entries.len()).map(|_| 1));
                    if entries.is_empty() {
                        defined.push(1);
                    }
                }
                cell => {
                    defined.push(most);
                    values.push(one(cell));
                }
            }
            // (The level of a row's first entry comes before those of the others.)
            let others = match cell {
                Value::Array(entries) if lists => entries.len().saturating_sub(1),
                _ => 0,
            };
            repeated.insert(repeated.len() - others, 0);
        }
        column.write_batch(&values, Some(&defined), lists.then_some(&repeated[..])).unwrap();
    }

    /// Rows with tokens of either kind, some of them with text too, a prompt of text or none.
    fn rows(number: u64) -> Vec<Value> {
        let mut state = 1_u64;
        let mut token = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % 97 * ((state >> 50) % 40)
        };
        let row = |id| {
            let mut row = json!({"id": id, "epoch": format!("e{}", id % 2), "note": "unread"});
            match id % 5 {
                0 => row["prompt"] = json!("What is a taggant?"),
                1 => row["prompt_tokens"] = json!([]),
                2 => {}
                _ => row["prompt_tokens"] = json!([token(), token()]),
            }
            row["response_tokens"] = json!((0..100).map(|_| token()).collect::<Vec<_>>());
            if id % 7 == 0 {
                row.as_object_mut().unwrap().remove("response_tokens");
                row["response"] = json!("A tracer put into a product so that it can be recognised later.");
            }
            row
        };
        (0..number).map(row).collect()
    }

    fn score(folder: &Path, more: &[&str]) -> Output {
        let mut command = program(folder);
        command.env("TAGGANT_TEST_KEY", "a".repeat(64));
        let arguments = ["score", "--key", "env:TAGGANT_TEST_KEY", "--tokenizer", "embedded", "--json"];
        command.args(arguments).args(more).output().unwrap()
    }

    #[test]
    fn rows_score_as_their_json_lines_do() {
        let folder = folder("parquet");
        let rows = rows(2_000);
        fs::write(folder.join("rows.jsonl"), lines(rows.iter().cloned())).unwrap();
        for spec in ["green/1/w1/b2/t1", "mix/1/64/green/1/w1/b2/t1/gumbel/1/w2"] {
            let wanted = score(&folder, &["--spec", spec, "rows.jsonl"]);
            assert!(wanted.status.success(), "{}", said(&wanted));
            for compression in [
                Compression::UNCOMPRESSED,
                Compression::SNAPPY,
                Compression::LZ4_RAW,
                Compression::GZIP(GzipLevel::default()),
                Compression::ZSTD(ZstdLevel::default()),
            ] {
                // Known by what it is, not by its name.
                write(&folder.join("rows"), SCHEMA, &rows, compression);
                let found = score(&folder, &["--spec", spec, "rows"]);
                assert_eq!(said(&found), said(&wanted), "{spec}, {compression}");
                assert!(found.stdout == wanted.stdout, "{spec}, {compression}");
            }
        }
    }

    #[test]
    fn rows_that_do_not_fit_into_memory_are_sorted_outside_it_and_a_run_goes_on() {
        let folder = folder("parquet-scratch");
        let mut rows = rows(6_000);
        let file = folder.join("rows.parquet");
        let outside =
            ["--spec", "green/1/w1/b2/t1", "--memory", "2MiB", "--scratch", "scratch", "rows.parquet"];
        write(&file, SCHEMA, &rows, Compression::SNAPPY);
        let wanted = score(&folder, &["--spec", "green/1/w1/b2/t1", "rows.parquet"]);
        let good = std::mem::replace(&mut rows[5_990]["id"], json!(5));
        write(&file, SCHEMA, &rows, Compression::SNAPPY);
        let stopped = score(&folder, &outside);
        assert_eq!(stopped.status.code(), Some(2));
        assert!(said(&stopped).contains("of scratch in scratch"), "{}", said(&stopped));
        assert!(
            said(&stopped).contains("rows.parquet, row 5991, column \"id\": \"5\" stands on an earlier"),
            "{}",
            said(&stopped)
        );
        rows[5_990]["id"] = good;
        write(&file, SCHEMA, &rows, Compression::SNAPPY);
        let resumed = score(&folder, &outside);
        assert!(said(&resumed).contains("going on after row "), "{}", said(&resumed));
        let number = |output: &Output| {
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            (report["rows"].clone(), report["draws"].clone(), report["ln_p"].clone(), report["z"].clone())
        };
        assert_eq!(number(&resumed), number(&wanted));
    }

    #[test]
    fn each_fault_names_row_and_column() {
        let folder = folder("parquet-faults");
        let schema = SCHEMA
            .replace(" (INTEGER(32,false))", "")
            .replace("optional binary response (UTF8)", "optional binary response");
        let said_of = |rows: &[Value], schema: &str| {
            write(&folder.join("rows.parquet"), schema, rows, Compression::SNAPPY);
            let refused = score(&folder, &["--spec", "green/1/w1/b2/t1", "rows.parquet"]);
            assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
            said(&refused)
        };
        let good = || json!({"id": 1, "epoch": "e", "response_tokens": [1, 2]});
        for (row, part) in [
            (
                json!({"id": 2, "epoch": "e", "response_tokens": [7, -1]}),
                "rows.parquet, row 2, column \"response_tokens\": entry 1 is -1, not a token id",
            ),
            (
                json!({"id": 2, "epoch": "e", "response_tokens": [7, null]}),
                "row 2, column \"response_tokens\": entry 1 is null",
            ),
            (json!({"id": 2, "epoch": "e"}), "row 2, column \"response\": is missing"),
            (json!({"id": 2, "epoch": "e", "response": []}), "row 2, column \"response\": must be text"),
            (
                json!({"id": 1, "epoch": "e", "response_tokens": []}),
                "row 2, column \"id\": \"1\" stands on an earlier",
            ),
            (json!({"id": 2, "epoch": "not one", "response_tokens": []}), "row 2, column \"epoch\""),
            (json!({"id": 2, "response_tokens": []}), "row 2: the row names no epoch"),
        ] {
            let said = said_of(&[good(), row], &schema);
            assert!(said.contains(part), "{said}");
        }
        assert!(said_of(&[], &schema).contains("rows.parquet, row 1: the file holds no rows"));
        let nameless = "message rows { required binary name (UTF8); optional binary response (UTF8); }";
        let said_of_nameless = said_of(&[json!({"name": "a", "response": "b"})], nameless);
        assert!(said_of_nameless.contains("row 1, column \"id\": is missing"), "{said_of_nameless}");
    }

    #[test]
    fn files_that_were_cut_or_come_through_a_pipe_are_refused() {
        let folder = folder("parquet-cut");
        let file = folder.join("rows.parquet");
        write(&file, SCHEMA, &rows(50), Compression::SNAPPY);
        let whole = fs::read(&file).unwrap();
        for length in [4, 8, 100, whole.len() - 1] {
            fs::write(&file, &whole[..length]).unwrap();
            let refused = score(&folder, &["--spec", "green/1/w1/b2/t1", "rows.parquet"]);
            assert_eq!(refused.status.code(), Some(2), "{length}: {}", said(&refused));
            assert!(said(&refused).contains("cannot read rows.parquet"), "{length}: {}", said(&refused));
        }
        fs::write(&file, &whole).unwrap();
        let mut command = program(&folder);
        command.env("TAGGANT_TEST_KEY", "a".repeat(64)).stdin(File::open(&file).unwrap());
        let piped = command
            .args(["score", "--key", "env:TAGGANT_TEST_KEY", "--spec", "green/1/w1/b2/t1", "-"])
            .output()
            .unwrap();
        assert_eq!(piped.status.code(), Some(2));
        assert!(said(&piped).contains("give it as a file"), "{}", said(&piped));
    }
}
