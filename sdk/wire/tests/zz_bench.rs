use std::time::Instant; use weir_wire::record_batch::*; use weir_wire::ids::Timestamp;
#[test] fn bench() {
    let ev = Event{timestamp:Timestamp(1_357_048_800_000),key:Some("N14228".into()),value:Some(vec![b'x';128].into()),headers:vec![]};
    let evh = Event{headers:vec![Header{name:"trace-id".into(),value:Some("abcdef".into())}],..ev.clone()};
    for (name, e) in [("no header",ev),("one header",evh)] {
    let mut b = BatchBuilder::default(); let n=1000u32; let r=200;
    let (mut best,mut bytes)=([f64::MAX;4],bytes::Bytes::new());
    for _ in 0..20 {
    let per=|t:Instant| t.elapsed().as_nanos() as f64/(n as f64*r as f64);
    let t=Instant::now();
    for _ in 0..r { for _ in 0..n { b.push(&e.as_record()); } bytes=b.finish(Compression::None); }
    best[0]=best[0].min(per(t));
    let t=Instant::now(); let mut batch=None; for _ in 0..r { batch=Some(RecordBatch::parse(bytes.clone()).unwrap()); }
    best[1]=best[1].min(per(t));
    let batch=batch.unwrap(); let l=BatchLimits::default();
    let t=Instant::now(); let mut s=0u64; for _ in 0..r { s+=batch.open(&l).unwrap().max_timestamp().0; }
    best[2]=best[2].min(per(t)); std::hint::black_box(s);
    let recs=batch.open(&l).unwrap();
    let t=Instant::now(); let mut s=0usize; for _ in 0..r { for x in recs.iter() { s+=x.value.unwrap().len()+x.key.unwrap().len(); } }
    best[3]=best[3].min(per(t)); std::hint::black_box(s);
    }
    println!("{name}: build parse open iter {best:.1?}");
    }
}
