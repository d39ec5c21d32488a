//! What operators see of a mesh in which two nodes reach each other over a third.

use serde_json::{Value, json};

use crate::fleet::{Fleet, NodeProcess, NodeSpec, causeway, output, succeed};

const NEAR: &str = "eu-west/fra-1";
const MIDDLE: &str = "us-east/iad-1";
const FAR: &str = "ap-south/bom-1";

/// What a command says, after a look at whether people can read it.
async fn ask(node: &NodeProcess, words: &str) -> Value {
    let words: Vec<&str> = words.split(' ').chain(["--admin", &node.admin]).collect();
    let text = succeed(&mut causeway(words.iter().copied())).await;
    let wide = text.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None, "{words:?} does not fit a terminal");
    let said = succeed(causeway(words).arg("--json")).await;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Waits until traffic of both kinds takes this path, or there is none.
async fn leads(node: &mut NodeProcess, to: &str, path: Option<&[&str]>) {
    let client = node.client();
    node.eventually(&format!("{to} is reached by {path:?}"), async || {
        let routes = client.routes().await.map_err(|error| error.to_string())?;
        let routes: Vec<_> = routes.into_iter().filter(|route| route.to == to).collect();
        let is = |route: &causeway::admin::view::RouteView| match (&route.path, path) {
            (Some(found), Some(path)) => found == path,
            (found, path) => found.is_none() && path.is_none(),
        };
        match routes.len() == 2 && routes.iter().all(is) {
            true => Ok(()),
            false => Err(format!("{routes:#?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn detour_over_a_third_node_can_be_seen_explained_and_measured() {
    let fleet = Fleet::new().await;
    let middle = fleet.start(&NodeSpec::new(MIDDLE)).await;
    let spec = |id| NodeSpec::new(id).peer(MIDDLE, &[middle.spec.bind]).hidden();
    let far = fleet.start(&spec(FAR)).await;
    let mut near = fleet.start(&spec(NEAR)).await;
    let detour = [NEAR, MIDDLE, FAR];
    leads(&mut near, FAR, Some(&detour)).await;
    leads(&mut near, MIDDLE, Some(&[NEAR, MIDDLE])).await;

    let routes = ask(&near, "routes").await;
    assert_eq!(routes.as_array().unwrap().len(), 2 * 2);
    assert!(routes[0]["cost_ms"].as_f64().unwrap() > 0.0, "{routes}");

    let route = ask(&near, "explain route bom-1").await;
    assert_eq!(route["to"], FAR);
    let history = &route["kinds"][0];
    assert_eq!(history["now"]["path"], json!(detour));
    let decisions = history["decisions"].as_array().unwrap();
    assert_eq!(decisions[0]["reason"], "found");
    assert_eq!(decisions.last().unwrap()["to"]["path"], json!(detour));

    let mesh = ask(&near, "mesh").await;
    let nodes = mesh["nodes"].as_array().unwrap();
    let names: Vec<_> = nodes.iter().map(|node| &node["name"]).collect();
    assert_eq!(names, [FAR, NEAR, MIDDLE]);
    assert!(nodes.iter().all(|node| node["contested"] == false));
    let regions = mesh["regions"].as_array().unwrap();
    let pairs: Vec<_> = regions
        .iter()
        .map(|pair| (&pair["a"], &pair["b"]))
        .collect();
    let [ap, eu, us] = [json!("ap-south"), json!("eu-west"), json!("us-east")];
    assert_eq!(pairs, [(&ap, &us), (&eu, &us)]);

    let ping = ask(&near, "ping bom-1 --count 3 --interval 10").await;
    assert_eq!(ping["received"], 3, "{ping}");
    assert_eq!(ping["echoes"][0]["path"], json!(detour));

    let trace = ask(&near, "trace bom-1 --count 3 --interval 10").await;
    let hops = trace["hops"].as_array().unwrap();
    let hops: Vec<_> = hops
        .iter()
        .map(|hop| (&hop["node"], &hop["received"]))
        .collect();
    let [far_name, middle_name, three] = [json!(FAR), json!(MIDDLE), json!(3)];
    assert_eq!(hops, [(&middle_name, &three), (&far_name, &three)]);

    for (how, count) in [("direct", 1.0), ("overlay", 1.0), ("none", 0.0)] {
        let labels = format!("how=\"{how}\",kind=\"interactive\"");
        assert_eq!(
            near.metric("relay_route_count", &labels).await,
            count,
            "{how}"
        );
    }
    assert_eq!(near.metric("relay_mesh_nodes", "").await, 3.0);

    drop(middle);
    leads(&mut near, FAR, None).await;
    for command in ["ping", "trace"] {
        let words = [command, FAR, "--count", "1", "--admin", &near.admin];
        let failed = output(&mut causeway(words)).await;
        assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    }
    let words = ["explain", "route", "ap-south/bmo-1", "--admin", &near.admin];
    let unknown = output(&mut causeway(words)).await;
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(said.contains("did you mean ap-south/bom-1?"), "{said}");
    drop(far);
}
