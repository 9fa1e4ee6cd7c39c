// Embeds every golden face with every file: on a Mac, a simulator or an iPhone.
import XCTest

@testable import PocketFace

final class GoldenTests: XCTestCase {
    func testEveryFileEmbedsTheGoldenFacesAsRecorded() throws {
        for file in FaceFile.all {
            for outcome in try FaceEmbedder(file, units: .cpuOnly).selfTest() {
                XCTAssertTrue(outcome.passed, "\(file.name): \(outcome)")
            }
        }
    }

    func testHowLongAFaceTakes() throws {
        let embedder = try FaceEmbedder(FaceFile.all[0])
        let crop = try FaceEmbedder.picture("\(GoldenFace.all[0].name).png")
        measure { _ = try? embedder.embed(crop) }
    }
}
