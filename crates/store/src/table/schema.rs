//! How the table is made where no template makes it: on a laptop, and in test beds.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TimeToLiveSpecification,
};

use super::{INDEX, Table, TableError, failed};
use crate::Store;

impl Store {
    /// Makes the table unless it is there. On AWS the deployment's template makes it, and no function may.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn make_table(&self) -> Result<(), TableError> {
        self.table.make().await
    }
}

impl Table {
    /// Makes the table unless it is there.
    pub(crate) async fn make(&self) -> Result<(), TableError> {
        let unbuilt = |error: aws_sdk_dynamodb::error::BuildError| failed("CreateTable", &error);
        let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let keys =
            |pk: &str, sk: &str| [key(pk, KeyType::Hash), key(sk, KeyType::Range)].into_iter().collect::<Result<Vec<_>, _>>();
        let attributes = ["pk", "sk", "gsi1pk", "gsi1sk"]
            .map(|name| AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build());
        let index = GlobalSecondaryIndex::builder()
            .index_name(INDEX)
            .set_key_schema(Some(keys("gsi1pk", "gsi1sk").map_err(unbuilt)?))
            .projection(Projection::builder().projection_type(ProjectionType::All).build());
        let made = self
            .client
            .create_table()
            .table_name(&self.name)
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(attributes.into_iter().collect::<Result<_, _>>().map_err(unbuilt)?))
            .set_key_schema(Some(keys("pk", "sk").map_err(unbuilt)?))
            .global_secondary_indexes(index.build().map_err(unbuilt)?)
            .send()
            .await;
        match made {
            Ok(_) => {}
            Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => return Ok(()),
            Err(error) => return Err(failed("CreateTable", &error)),
        }
        let ttl = TimeToLiveSpecification::builder().attribute_name("ttl").enabled(true).build().map_err(unbuilt)?;
        let set = self.client.update_time_to_live().table_name(&self.name).time_to_live_specification(ttl).send().await;
        set.map(drop).map_err(|error| failed("UpdateTimeToLive", &error))
    }
}
