declare module "virtual:icons" {
  /** The paths of the pictures that are served: `/icon/aws.svg`. */
  const paths: string[];
  export default paths;
}
