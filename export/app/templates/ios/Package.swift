// swift-tools-version:5.9
// Add this folder to an app: File, Add Package Dependencies, Add Local. On a Mac, `swift test` runs the golden faces.
import PackageDescription

let package = Package(
    name: "PocketFace",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [.library(name: "PocketFace", targets: ["PocketFace"])],
    targets: [
        .target(name: "PocketFace", resources: [.copy("Resources")]),
        .testTarget(name: "PocketFaceTests", dependencies: ["PocketFace"]),
    ]
)
