//! Any bytes are a signed advert or a typed error, and what was decoded can be sent and is then the
//! same. Nothing is signed here: what a signature covers is decoded whether it passes or not.

use causeway::wire::{AdvertStatement, SignedStatement};
use router::{advert::Advert, graph::RegionId};

/// - `bytes`: a signed statement, or what one is around.
pub(crate) fn check(bytes: &[u8]) {
    if let Ok(signed) = SignedStatement::decode(bytes) {
        let again = signed.encode().expect("what was decoded can be sent");
        assert_eq!(SignedStatement::decode(&again).as_ref(), Ok(&signed));
        check_statement(&signed.statement);
    }
    check_statement(bytes);
}

fn check_statement(bytes: &[u8]) {
    let Ok(statement) = AdvertStatement::decode(bytes) else {
        return;
    };
    let region = statement.region.clone();
    let Ok((advert, _)) = Advert::try_new(statement.into_raw(REGION)) else {
        return;
    };
    let again = AdvertStatement::encode(&advert, &region);
    let again = AdvertStatement::decode(&again).expect("what was decoded can be sent");
    assert_eq!(again.region, region);
    let (again, adjusted) = Advert::try_new(again.into_raw(REGION)).expect("it is within bounds");
    assert_eq!((again, adjusted.total()), (advert, 0));
}

const REGION: RegionId = RegionId(0);
